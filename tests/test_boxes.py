"""Bounding boxes as supervision: read in three forms, filled, never left."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_layouts import photo

from conftest import TRAINVAL
from src import InputError, data, metrics, training
from src.postprocessing import boxed, finishing, masks

BOX = (0.25, 0.1, 0.75, 0.9)  # of a photo of 40 x 30


def write_voc(root, photo_path):
    root.mkdir(exist_ok=True)
    (root / "a.xml").write_text(
        "<annotation><size><width>40</width><height>30</height></size><object><name>cup</name><bndbox>"
        "<xmin>11</xmin><ymin>4</ymin><xmax>30</xmax><ymax>27</ymax></bndbox></object></annotation>"
    )


def write_coco(root, photo_path):
    image = {"id": 7, "file_name": photo_path.name, "width": 40, "height": 30}
    annotations = [
        {"image_id": 7, "bbox": [10, 3, 20, 24]},
        {"image_id": 7, "bbox": [0, 0, 40, 30], "iscrowd": 1},
    ]
    (root / "instances.json").write_text(json.dumps({"images": [image], "annotations": annotations}))


def write_yolo(root, photo_path):
    photo_path.with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.8\n\n")


@pytest.fixture
def photos(settings, tmp_path):
    settings.data_root = tmp_path / "photos"
    for name in ("a", "b"):
        photo(settings.data_root / "train" / "cups" / f"{name}.png")
    photo(settings.data_root / "test" / "cups" / "c.png")
    return data.load(settings)


def write_twin(root, photo_path):
    """As YOLO's own data sets have it, with a detector's score in the end, beside other JSON."""
    (root / "metadata.json").write_text("{}")
    (root / "captions.json").write_text('{"images": [], "annotations": [{"image_id": 1, "caption": "a cup"}]}')
    path = root / "labels" / "train" / "cups" / "a.txt"
    path.parent.mkdir(parents=True)
    path.write_text("0 0.5 0.5 0.5 0.8 0.97")


@pytest.mark.parametrize("write", [write_voc, write_coco, write_yolo, write_twin])
def test_boxes_are_found_in_three_forms_for_trainval_alone(settings, photos, write, capsys):
    write(photos.root / "train" / "Annotations" if write == write_voc else photos.root, photos.paths[0])
    (found,) = data.boxes_of(settings, photos, "boxes", "train_ccam/boxes_from_trimaps.py").items()
    assert found[0] == 0 and np.allclose(found[1], [BOX])
    assert "1 photo with boxes, 1 with image-level labels alone" in capsys.readouterr().out
    assert data.boxes_of(settings, photos, "labels", "train_ccam/boxes_from_trimaps.py") == {}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("nothing.txt", "", "no trainval photo of .* has a box"),
        ("train/cups/a.txt", "0 0.5 0.5 0.5", "line 1: expected 'class x y width height'"),
        ("train/cups/a.txt", "0 nan 0.5 0.5 0.5", r"none of the 1 box\(es\) of .*a.png lies in the photo"),
        ("train/cups/a.txt", "0 40 30 20 20", "YOLO's are fractions of it"),
        ("train/cups/a.txt", "0 .1 .1 .9 .1 .9 .9 .1 .9", "line 1: expected 'class x y width height'"),
        ("train/cups/a.xml", "<annotation><object><bndbox></bndbox></object></annotation>", "a.xml"),
        ("train/cups/a.xml", "<annotation>", "a.xml"),
        ("boxes.json", "[]", "no trainval photo of .* has a box"),
        ("boxes.json", '{"images": [], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}', "no COCO file"),
    ],
)
def test_damaged_boxes_are_named(settings, photos, name, text, expected):
    (photos.root / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        data.boxes_of(settings, photos, "boxes", "train_ccam/boxes_from_trimaps.py")
    with pytest.raises(InputError, match="unknown supervision"):
        data.boxes_of(settings, photos, "Boxes", "train_ccam/boxes_from_trimaps.py")


def test_boxes_that_may_be_another_photos_are_not_taken(settings, photos):
    image = {"id": 7, "file_name": "a.png", "width": 30, "height": 40}
    coco = {"images": [image], "annotations": [{"image_id": 7, "bbox": [10, 3, 20, 24]}]}
    find = lambda: data.boxes_of(settings, photos, "boxes", "train_ccam/boxes_from_trimaps.py")  # noqa: E731
    (photos.root / "one.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match="boxes of the photo as it lies, 30 x 40; it is 40 x 30"):
        find()
    (photos.root / "two.json").write_text(json.dumps(coco).replace("7", "8"))
    with pytest.raises(InputError, match="COCO's images 7 and 8 are both named as .*a.png"):
        find()
    for name in ("one.json", "two.json"):
        (photos.root / name).unlink()
    photo(photos.root / "test" / "cups" / "a.png")
    photos = data.load(settings)
    write_voc(photos.root / "train" / "Annotations", photos.paths[0])
    with pytest.raises(InputError, match="no trainval photo of .* has a box"):  # the test photo's, or train's?
        find()


def test_an_image_may_be_in_several_files_and_a_scene_may_have_its_name(settings, photos):
    write_coco(photos.root, photos.paths[0])
    (photos.root / "key_points.json").write_text((photos.root / "instances.json").read_text())
    photo(photos.root / "background" / "a.png")
    with_scenes = data.load(settings, background=True)
    (found,) = data.boxes_of(settings, with_scenes, "boxes", "train_ccam/boxes_from_trimaps.py").items()
    assert found[0] == 0 and np.allclose(found[1], [BOX, BOX])


def test_a_run_on_other_boxes_is_refused(settings, photos):
    write_yolo(photos.root, photos.paths[0])
    find = lambda: data.boxes_of(settings, photos, "boxes", "train_ccam/boxes_from_trimaps.py")  # noqa: E731
    find()
    before = settings.photos["boxes"]
    photos.paths[0].with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.7\n")
    find()
    assert settings.photos["boxes"] != before


def test_a_filled_mask_touches_the_sides_and_nothing_is_outside():
    rows, columns = np.mgrid[:60, :80]
    prob = np.exp(-(((rows - 30) / 18) ** 2) - ((columns - 40) / 24) ** 2).astype(np.float32)  # too small for its box
    boxes = np.array([[0.1, 0.1, 0.9, 0.9]])
    filled = boxed.fill(prob, boxes)
    (window,) = boxed.windows(boxes, prob.shape)
    assert boxed.reach(prob[window]) < 0.5 <= boxed.reach(filled[window]) + 1e-6
    outside = np.ones_like(prob)
    outside[window] = 0
    assert filled[outside > 0].max() == 0 and filled.max() <= 1
    assert ((filled >= prob - 1e-6) | (outside > 0)).all()
    large = np.full_like(prob, 0.9)
    assert np.allclose(boxed.fill(large, boxes)[window], 0.9), "nothing to raise where the sides are reached"


def test_what_only_a_filled_box_would_have_is_uncertain(tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    rows, columns = np.mgrid[:64, :64] / 64
    prob = np.exp(-(((rows - 0.5) / 0.2) ** 2) - ((columns - 0.5) / 0.2) ** 2).astype(np.float32)
    box = np.array([[0.2, 0.2, 0.8, 0.8]])
    (tmp_path / "masks").mkdir()
    for some, band, values in ((box, 0.1, {0, 1, 255}), (box, 0.0, {0, 1}), (None, 0.0, {0, 1})):
        masks.finish([(tmp_path / "a.png", "a", prob, some)], tmp_path, {"masks": finishing.Recipe()}, band)
        labels = masks.read(tmp_path / "masks" / "a.png")
        assert set(np.unique(labels)) == values and labels[30, 40] == 1
        if band:
            (window,) = boxed.windows(box, labels.shape, boxed.MARGIN + 0.02)
            outside = np.ones(labels.shape, bool)
            outside[window] = False
            assert not labels[outside].any() and labels[16, 40] == 255  # near a side that the mask alone does not reach


def test_the_projection_loss_asks_every_row_and_column_of_a_box_for_a_pixel():
    inside = torch.zeros(1, 16, 16, dtype=torch.bool)
    inside[0, 4:12, 4:12] = True
    cross = torch.zeros(1, 16, 16)
    cross[0, 8, 4:12] = cross[0, 4:12, 8] = 1
    assert training.projection_loss(cross, inside) == 0, "one pixel in each row and column is enough"
    bar = torch.zeros(1, 16, 16)
    bar[0, 8, 4:12] = 1
    bar.requires_grad_()
    training.projection_loss(bar, inside).backward()
    pulled = bar.grad[0] < 0
    assert pulled[4:12, 4:12].any(1).sum() == 8 and not pulled[~inside[0]].any()


def test_the_projection_loss_leaves_out_cut_boxes_and_photos_without_one():
    none, cut = torch.zeros(1, 16, 16, dtype=torch.bool), torch.zeros(1, 16, 16, dtype=torch.bool)
    assert training.projection_loss(torch.ones(1, 16, 16), none) == 0
    cut[0, 4:12, :12] = True  # the subject may go on to the left, so rows may lack it; columns may not
    found = torch.zeros(1, 16, 16)
    found[0, 8, :12] = 1
    assert training.projection_loss(found, cut) == 0
    assert training.projection_loss(found.transpose(1, 2), cut) > 0
    whole = torch.zeros(1, 16, 16, dtype=torch.bool)
    whole[0, 4:12, 4:12] = True
    alone = training.projection_loss(found * 0.5, whole)
    both = training.projection_loss(torch.cat([found * 0.5, found]), torch.cat([whole, none]))
    assert torch.isclose(alone, both), "a photo without a box changes nothing"


def test_every_box_keeps_a_pixel():
    tiny = np.array([[0.999, 0.999, 1.0, 1.0], [0.5, 0.5, 0.5001, 0.5001]])
    assert (boxed.confine(np.ones((10, 10)), tiny) > 0).sum() == 2


def test_masks_of_trainval_stay_in_their_boxes(chain_run, script, drawn):
    """The two stages that read boxes, on boxes drawn around the tiny chain's ground truth."""
    ensemble = chain_run("ensemble_masks")
    script.runs_root, script.data_root = ensemble.parents[1], drawn
    for path, *flags in (
        ("train_ccam/boxes_from_trimaps.py",),
        ("train_ccam/ensemble_masks.py", "--name", "boxes", "--scales", 1.0),
        ("train_unet/train_on_ensemble.py", "--name", "boxes", "--masks", "boxes", "--epochs", 1, "--rounds", 1),
    ):
        supervision = () if "trimaps" in path else ("--supervision", "boxes", "--no-amp")
        code, _, err = script(path, *flags, *supervision, "--no-amp")
        assert code == 0, err
    coco = json.loads((script.runs_root / "boxes_from_trimaps" / "seed0" / "boxes.json").read_text())
    assert len(coco["images"]) == TRAINVAL
    for folder in ("ensemble_masks_boxes/seed0/masks_crf", "train_on_ensemble_boxes/seed0/masks_final"):
        for image, annotation in zip(coco["images"], coco["annotations"], strict=True):
            mask = masks.read(script.runs_root / folder / image["file_name"].replace(".jpg", ".png")) == 1
            left, top, width, height = annotation["bbox"]
            x, y = (boxed.MARGIN * image[side] + 1 for side in ("width", "height"))
            found = metrics.box(mask)
            if found:
                assert left - x <= found[0] and found[2] <= left + width + x
                assert top - y <= found[1] and found[3] <= top + height + y
    with Image.open(script.runs_root / folder / image["file_name"].replace(".jpg", ".png")) as mask:
        assert mask.size == (image["width"], image["height"])
