"""Masks for other tools: their own libraries read the same pixels, names and classes back."""

import csv
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import VOCSegmentation

from src import InputError, data, export, predicted
from src.models import segmenters
from src.postprocessing import finishing, masks

NAMES = ("mugs/a b.jpg", "mugs/a b.png", "mugs/deep/größe.jpg", "tea pots/猫 हिन्दी.webp", "tea pots/turned.jpg",
         "tea pots/empty.jpg", "tea pots/A:#1.jpg", "tea_pots/a_#1.jpg")  # fmt: skip


def coco():
    return pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")


@pytest.fixture
def made(tmp_path):
    """Photos of classes with awkward names, and a mask of each; (photos, folder of what is written)."""
    root, out, random = tmp_path / "my photos", tmp_path / "out", np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    for number, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = 40 + number, 30
        options = {"exif": turned} if "turned" in name else {}
        Image.fromarray(random.integers(0, 255, (height, width, 3), np.uint8)).save(path, **options)
    photos = predicted.photos_in([root], out)
    for name, path in photos.items():
        shape = np.array(Image.open(path)).shape[:2]
        labels = random.integers(0, 2, shape[::-1] if "turned" in name else shape).astype(np.uint8)
        masks.save(out / "masks" / f"{name}.png", labels * ("empty" not in name))
    return photos, out


def write(kind, made):
    photos, out = made
    return export.write(kind, out, export.of_predictions(photos, out / "masks"))


def test_coco_is_read_back_to_the_same_pixels(made, capsys):
    found = coco().COCO(write("coco", made))
    photos, out = made
    assert sorted(image["file_name"] for image in found.imgs.values()) == sorted(NAMES)
    assert {c["id"]: c["name"] for c in found.loadCats(found.getCatIds())} == {1: "mugs", 2: "tea pots", 3: "tea_pots"}
    assert min(found.imgs) == min(found.anns) == 1 and len(found.anns) == len(NAMES) - 1
    for (name, _), image in zip(photos.items(), found.imgs.values(), strict=True):
        labels = masks.read(out / "masks" / f"{name}.png")
        assert labels.shape == (image["height"], image["width"])
        annotations = found.loadAnns(found.getAnnIds(image["id"]))
        assert len(annotations) == int("empty" not in name)
        for annotation in annotations:
            assert (found.annToMask(annotation) == labels).all() and annotation["area"] == labels.sum()
            assert found.cats[annotation["category_id"]]["name"] == image["file_name"].split("/")[0]
            left, top, width, height = (int(v) for v in annotation["bbox"])
            assert labels[top : top + height, left : left + width].sum() == labels.sum()


def test_names_of_labels_are_one_line_each_and_none_twice():
    found = export._label_names(["a b", "a\nb", "red#1", "red:1", "猫"])
    assert found == ["a b", "a_b", "red_1", "red_1_4", "猫"]


def test_torchvision_and_this_project_read_the_voc_folder(made, settings):
    folder = write("voc", made)
    photos, out = made
    base = folder / "VOCdevkit" / "VOC2012"
    with (folder / "photos.csv").open(newline="", encoding="utf-8") as file:
        own = {row["photo"]: row["name"] for row in csv.DictReader(file)}
    assert sorted(own) == sorted(NAMES)
    assert own["tea pots/猫 हिन्दी.webp"] == "tea_pots_猫_हिन्दी" and own["mugs/a b.png"] == "mugs_a_b_2"
    assert len({name.lower() for name in own.values()}) == len(NAMES) and not any(
        set(" /:#") & set(n) for n in own.values()
    )
    lines = (base / "labelmap.txt").read_text().splitlines()[1:]
    assert lines == ["background:0,0,0::", "mugs:128,0,0::", "tea pots:0,128,0::", "tea_pots:128,128,0::"]
    found = VOCSegmentation(folder, image_set="train")
    assert len(found) == len(NAMES)
    for name, (photo, mask) in zip(photos, found, strict=True):
        labels = masks.read(out / "masks" / f"{name}.png")
        number = 1 + ("mugs", "tea pots", "tea_pots").index(name.split("/")[0])
        assert (np.array(mask) == labels * number).all() and photo.size == mask.size
        colours = [tuple(int(v) for v in lines[k].split(":")[1].split(",")) for k in (0, number)]
        assert set(map(tuple, np.array(mask.convert("RGB")).reshape(-1, 3).tolist())) <= set(colours)
    with Image.open(base / "JPEGImages" / f"{own['tea pots/turned.jpg']}.jpg") as photo:
        assert not photo.getexif() and photo.size == (30, 44)
    copied = base / "JPEGImages" / f"{own['mugs/a b.jpg']}.jpg"
    assert copied.read_bytes() == photos["mugs/a b.jpg"].read_bytes()
    settings.data_root = folder
    again = data.load(settings, pixels=False)
    assert again.names == list(own.values())
    assert all((masks.ground_truth(again, i) == masks.read(out / "masks" / f"{name}.png")).all()
               for i, name in enumerate(photos))  # fmt: skip


@pytest.mark.parametrize("kind", export.KINDS)
def test_an_export_is_replaced_only_as_a_whole(made, kind):
    coco()
    photos, out = made
    folder = write(kind, made)
    before = {path: path.read_bytes() for path in [folder, *folder.rglob("*")] if path.is_file()}
    last = list(photos)[-1]
    masks.save(out / "masks" / f"{last}.png", np.ones((3, 3), np.uint8))
    with pytest.raises(InputError, match="is 3 x 3 pixels, not 4. x 30 as its photo"):
        write(kind, made)
    assert {path: path.read_bytes() for path in [folder, *folder.rglob("*")] if path.is_file()} == before
    assert not list(out.glob("*.part"))
    (out / "masks" / f"{last}.png").unlink()
    mine = [out / f"{kind}.old" / "mine.txt", out / f"{kind}.part" / "mine.txt", out / kind / "mine.txt"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    write(kind, made)
    assert all(path.exists() for path in mine), "an export takes the place of its own files alone"
    assert not [*out.rglob(".part"), *out.rglob("*.old/VOCdevkit")]
    if kind == "voc":
        assert len(list(folder.rglob("*.jpg"))) == len(NAMES) - 1
        (folder / "photos.csv").unlink()
        with pytest.raises(InputError, match="in the way"):
            write(kind, made)


@pytest.mark.parametrize(
    ("names", "categories"),
    [
        (["a", "cup/b"], ["subject", "subject"]),
        (["train/a", "test/b"], ["subject", "subject"]),
        (["train/cup/a", "test/pot/x/b"], ["cup", "pot"]),
        (["train/cup/a", "pot/b"], ["cup", "pot"]),
        (["images/train/a", "images/test/b"], ["subject", "subject"]),
    ],
)
def test_a_class_for_each_photo_or_none(names, categories):
    assert list(export.categories(names).values()) == categories


def test_folders_that_are_no_classes():
    with pytest.raises(InputError, match="the folder background is no class"):
        export.check("voc", ["cup/a", "background/b"])
    with pytest.raises(InputError, match="no masks to export"):
        export.write("voc", None, [])


def test_names_are_short_unique_and_plain():
    names = export.flat_names(["猫/" * 90 + "x.jpg", "a/b.jpg", "A/B.jpg", "a b.png", "\udcff.jpg"])
    assert all(len(name.encode()) <= 210 for name in names) and names[0].endswith("猫_x")
    assert names[1:] == ["a_b", "A_B_2", "a_b_3", "_"]


def test_uncertain_pixels_and_photos_without_a_class(settings, tmp_path):
    settings.data_root = tmp_path / "photos"
    settings.data_root.mkdir()
    Image.new("RGB", (20, 10)).save(settings.data_root / "a.jpg")
    labels = np.repeat([[0, 1, 255, 1]], 10, 0).repeat(5, 1).astype(np.uint8)
    masks.save(tmp_path / "masks" / "a.png", labels)
    photos = data.load(settings, pixels=False)
    items = export.of_photos(photos, [0], tmp_path / "masks")
    assert [(item.name, item.category) for item in items] == [("a.jpg", "subject")]
    found = coco().COCO(export.write("coco", tmp_path, items))
    assert (found.annToMask(found.anns[1]) == (labels == 1)).all()
    ((_, mask),) = VOCSegmentation(export.write("voc", tmp_path, items), image_set="train")
    assert (np.array(mask) == labels).all()


def test_a_jpeg_with_dots_per_inch_and_a_damaged_exif_block_is_exported(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage", dpi=(72, 72))
    masks.save(tmp_path / "a.png", np.ones((20, 30), np.uint8))
    item = export.Item("a.jpg", tmp_path / "a.jpg", tmp_path / "a.png", "subject")
    assert len(list(export.write("voc", tmp_path, [item]).rglob("a.jpg"))) == 1


def test_predict_exports_what_was_done_before_too(script, tmp_path):
    coco()
    torch.manual_seed(0)
    path, settings = tmp_path / "checkpoint.pt", type("Settings", (), {"backbone": "resnet18"})
    torch.save(segmenters.checkpoint(segmenters.UNet(), "unet", settings, 48, finishing.reading((1.0,))), path)
    for name in ("cup/a", "pot/b"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), "red").save(tmp_path / "photos" / f"{name}.jpg")
        flags = (tmp_path / "photos", "--out", tmp_path / "out", "--checkpoint", path, "--export", "coco")
        code, _, err = script("train_unet/predict.py", *flags, tiny=False)
        assert code == 0, err
    found = json.loads(next((tmp_path / "out" / "coco").rglob("*.json")).read_text())
    assert [image["file_name"] for image in found["images"]] == ["cup/a.jpg", "pot/b.jpg"]


def test_what_is_missing_is_said_before_the_work(script, monkeypatch, tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg")
    (tmp_path / "none.pt").touch()
    flags = (
        "train_unet/predict.py",
        tmp_path / "a.jpg",
        "--out",
        tmp_path / "out",
        "--checkpoint",
        "none.pt",
        "--export",
    )
    code, _, err = script(*flags, "yolo", tiny=False)
    assert code == 2 and "unknown export 'yolo'; one of coco, voc" in err and len(err.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    code, _, err = script(*flags, "coco", tiny=False)
    assert code == 2 and "pip install pycocotools" in err and len(err.splitlines()) == 1
    code, _, err = script("reproduce.py", "--export", "voc")
    assert code == 2 and "--export is for own photos" in err and len(err.splitlines()) == 1
