"""Hostile input, a line a case: what is given, and the one line that answers. Nothing is written elsewhere."""

import io
import json
import math
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from conftest import ROOT, TINY
from src import InputError, checkpoints, cli, data, distributed, files, records, runs
from src.data import boxes, decoding, download, pascal_voc, subset
from src.methods import ccam, class_specific_ccam
from src.models import classifiers, segmenters
from src.postprocessing import finishing, masks


def png(width=20, height=20, colour=0, depth=8, kind=2, body=None, sides=None):
    """Bytes of a PNG, whole or with parts that do not fit together."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = struct.pack(">IIBBBBB", *(sides or (width, height)), depth, kind, 0, 0, 0)
    rows = b"".join(b"\0" + bytes([colour]) * width * 3 for _ in range(height))
    content = zlib.compress(rows) if body is None else body
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def image(kind, size=(20, 20), mode="RGB", **options):
    content = io.BytesIO()
    Image.new(mode, size).save(content, kind, **options)
    return content.getvalue()


def flipped(content, at=-40):
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


# --- photos: name, bytes, expected line ---

PHOTOS = [
    ("empty.jpg", b"", "not an image"),
    ("text.jpg", b"hello", "not an image"),
    ("zeros.jpg", bytes(1000), "not an image"),
    ("html.jpg", b"<html>404</html>", "not an image"),
    ("cut.jpg", image("JPEG", (200, 200))[:300], "cut.jpg"),
    ("head.jpg", image("JPEG")[:20], "head.jpg"),
    ("cut.png", png()[:48], "cut.png"),
    ("header.png", png()[:33], "header.png"),
    ("flip.png", flipped(png(), 20), "flip.png"),
    ("zlib.png", png(body=b"no zlib at all"), "zlib.png"),
    ("short.png", png(body=zlib.compress(b"\0")), "short.png"),
    ("bomb.png", png(sides=(60000, 60000)), "over 178 megapixels; shrink it first"),
    ("wide.png", png(sides=(2**31 - 1, 1)), "wide.png"),
    ("zero.png", png(sides=(0, 20)), "zero.png"),
    ("narrow.png", png(width=1, height=500), "1 x 500 pixels is too small"),
    ("tiny.gif", image("GIF", (2, 2)), "2 x 2 pixels is too small"),
    ("cut.gif", image("GIF", (90, 90))[:30], "cut.gif"),
    ("cut.bmp", image("BMP", (90, 90))[:100], "cut.bmp"),
    ("head.bmp", b"BM" + bytes(52), "head.bmp"),
    ("huge.bmp", image("BMP")[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + image("BMP")[26:], "huge.bmp"),
    ("cut.tiff", image("TIFF", (90, 90))[:80], "cut.tiff"),
    ("loop.tiff", b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "loop.tiff"),
    ("cut.webp", image("WEBP", (90, 90))[:40], "cut.webp"),
    ("head.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 ", "head.webp"),
    ("bad.ppm", b"P6 99999999 99999999 255\n", "bad.ppm"),
    ("minus.ppm", b"P6 -5 10 255\n" + bytes(150), "minus.ppm"),
    ("cut.ppm", b"P6 90 90 255\n" + bytes(10), "cut.ppm"),
    ("bad.tga", bytes(18), "bad.tga"),
    ("bad.ico", b"\0\0\1\0\1\0" + bytes(10), "bad.ico"),
    ("bad.psd", b"8BPS\0\1" + bytes(30), "bad.psd"),
    ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run", "not an image"),
    ("pdf.jpg", b"%PDF-1.4", "not an image"),
    ("pickle.jpg", pickle.dumps([1]), "not an image"),
]


@pytest.mark.parametrize(("name", "content", "line"), PHOTOS, ids=[name for name, _, _ in PHOTOS])
def test_photo(tmp_path, name, content, line):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        decoding.decode(tmp_path / name, 16)
    text = str(error.value)
    assert name in text and any(part in text for part in line.split("|")) and len(text.splitlines()) == 1


def a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def without_permission(path):
    path.chmod(0)


def another_suffix(path):
    Image.new("RGB", (20, 20)).save(path.with_suffix(".bmp"))


ODD_FILES = [
    (a_link_to_itself, "a link that leads to itself"),
    (a_pipe, "a pipe or a device, no file"),
    (lambda path: path.write_bytes(b""), "not an image"),
    (lambda path: (path.unlink(), path.mkdir()), "it is a folder"),
    (lambda path: (path.unlink(), path.symlink_to(path.parent / "gone")), "unreadable"),
    (another_suffix, "two photos are named"),
    (lambda path: path.rename(path.with_suffix("")), "label line(s) without a photo"),
    (lambda path: shutil.copy(path, path.with_name("stranger_1.jpg")), "photo(s) without a label line"),
    (lambda path: shutil.copy(path, path.with_name("new\nline.jpg")), "photo(s) without a label line"),
    (lambda path: shutil.copy(path, os.fsencode(path.parent) + b"/\xff\xfe.jpg"), "photo(s) without a label line"),
    (lambda path: shutil.rmtree(path.parent), "no folder of photos"),
]


@pytest.mark.parametrize(("spoil", "line"), ODD_FILES, ids=range(len(ODD_FILES)))
def test_folder_of_photos(script, spoil, line):
    spoil(sorted((script.data_root / "oxford-iiit-pet" / "images").iterdir())[0])
    refused(script, ["train_ccam/train_ccam.py"], line)


def refused(script, words, line, tiny=True):
    """The script says one line and ends with code 2, and nothing appears beside data and runs."""
    beside = script.runs_root.parent
    before = {path for path in beside.rglob("*") if script.runs_root not in (path, *path.parents)}
    code, _, err = script(*words, tiny=tiny)
    assert (code, len(err.splitlines())) == (2, 1) and line in err, err
    assert before == {path for path in beside.rglob("*") if script.runs_root not in (path, *path.parents)}


# --- label lists ---

LISTS = [
    (b"", "no trainval photo"),
    (b"Abyssinian_1\n", "line 1: expected 'name class species'"),
    (b"Abyssinian_1 one 1 1\n", "line 1: expected"),
    ("Abyssinian_1 ² 1 1\n".encode(), "line 1: expected"),
    ("Abyssinian_1 ١ 1 1\n".encode(), "line 1: expected"),
    (b"Abyssinian_1 -1 1 1\n", "line 1: expected"),
    (b"Abyssinian_1 1.5 1 1\n", "line 1: expected"),
    (b"Abyssinian_1 " + b"9" * 5000 + b" 1 1\n", "line 1: expected"),
    ("Abyssinian_1 1 1 1\nK\xf6ter_1 1 1 1\n".encode("latin-1"), "is not UTF-8 text"),
    ("cat 1 1 1\n".encode("utf-16"), "is not UTF-8 text"),
    (bytes(100), "line 1: expected"),
    (b"../../../etc/passwd 1 1 1\n", "label line(s) without a photo"),
    (b"/etc/passwd 1 1 1\n", "label line(s) without a photo"),
    (b"nobody_1 1 1 1\n", "label line(s) without a photo"),
]


@pytest.mark.parametrize(("content", "line"), LISTS, ids=range(len(LISTS)))
def test_label_list(script, content, line):
    (script.data_root / "oxford-iiit-pet" / "annotations" / "trainval.txt").write_bytes(content)
    if not content:
        (script.data_root / "oxford-iiit-pet" / "annotations" / "test.txt").write_bytes(b"")
        shutil.rmtree(script.data_root / "oxford-iiit-pet" / "images")
        (script.data_root / "oxford-iiit-pet" / "images").mkdir()
    refused(script, ["train_ccam/train_ccam.py"], line)


def test_a_byte_order_mark_and_windows_lines_are_read(settings):
    path = settings.data_root / "oxford-iiit-pet" / "annotations" / "trainval.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(data.load(settings).trainval) == 12


SUBSETS = [
    ("a trainval extra\n", "expected"),
    ("a\n", "expected"),
    ("../x trainval\n", "lacks 1 photo"),
    ("a trainval\na test\n", "a is in both splits"),
    ("\0", "expected"),
]


@pytest.mark.parametrize(("content", "line"), SUBSETS, ids=range(len(SUBSETS)))
def test_subset_list(data_root, tmp_path, content, line):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(InputError, match=line):
        subset.select(data_root, tmp_path / "list.txt", 384, tmp_path / "made")
    assert not (tmp_path / "made").exists()


XMLS = [
    "", "<annotation>", "no xml", "<a>&undefined;</a>", '<?xml version="1.0" encoding="no-such"?><a/>', "\0",
    '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a><object><name>&b;</name></object></a>',
    "<a><object><name>background</name></object></a>",
]  # fmt: skip


@pytest.mark.parametrize("text", XMLS, ids=range(len(XMLS)))
def test_annotation(tmp_path, text):
    (tmp_path / "photo.xml").write_text(text)
    with pytest.raises(InputError, match="photo.xml"):
        pascal_voc._classes(tmp_path / "photo.xml")


# --- boxes ---

BOXES = [
    ("boxes.json", "", "no COCO file of boxes"),
    ("boxes.json", "[1]", "has a box"),
    ("boxes.json", "{", "no COCO file of boxes"),
    ("boxes.json", "[" * 100_000, "no COCO file of boxes"),
    ("boxes.json", "{}", "has a box"),
    ("boxes.json", '{"images": []}', "no COCO file of boxes"),
    ("boxes.json", '{"images": 5, "annotations": []}', "no COCO file of boxes"),
    ("boxes.json", '{"images": [{"id": 1}], "annotations": ["x"]}', "no COCO file of boxes"),
    ("boxes.json", '{"images": [], "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}', "no COCO file of boxes"),
    ("boxes.json", '{"images": [{"id": 1, "file_name": "a.jpg", "width": 0, "height": 0}], "annotations": '
     '[{"image_id": 1, "bbox": [0, 0, 1, 1]}]}', "no COCO file of boxes"),
    ("boxes.json", '{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}], "annotations": '
     '[{"image_id": 1, "bbox": [NaN, 0, 1, 1]}]}', "no trainval photo of"),
    ("boxes.json", '{"images": [{"id": 1, "file_name": "../../a.jpg", "width": 9, "height": 9}], "annotations": '
     '[{"image_id": 1, "bbox": [0, 0, -5, 1]}]}', "no trainval photo of"),
    ("labels/{}.txt", "0 0.5 0.5 x 0.1", "expected 'class x y width height'"),
    ("labels/{}.txt", "0 0.5", "expected 'class x y width height'"),
    ("labels/{}.txt", "0 nan nan nan nan", "lies in the photo"),
    ("labels/{}.txt", "0 5 5 0.1 0.1", "lies in the photo"),
    ("Annotations/{}.xml", "<a><size><width>" + "9" * 400 + "</width><height>9</height></size><object><bndbox><xmin>1"
     "</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></a>", "int too large|Exceeds the limit"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "line"), BOXES, ids=range(len(BOXES)))
def test_boxes(settings, tmp_path, name, text, line):
    settings.data_root = tmp_path / "own"
    for k in range(10):
        (settings.data_root / "mugs").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 30), (k, 0, 0)).save(settings.data_root / "mugs" / f"{k}.png")
    photos = data.load(settings)
    for i in photos.trainval:
        path = settings.data_root / name.format(photos.names[i])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.raises(InputError, match=line) as error:
        boxes.boxes_of(settings, photos, "boxes", "")
    assert len(str(error.value).splitlines()) == 1


# --- masks and trimaps ---

MASKS = [
    (lambda path: path.write_bytes(b""), "no readable mask"),
    (lambda path: path.write_bytes(b"hello"), "no readable mask"),
    (lambda path: path.write_bytes(flipped(path.read_bytes())), "no readable mask"),
    (lambda path: path.write_bytes(path.read_bytes()[:-30]), "no readable mask"),
    (lambda path: path.unlink(), "no readable mask"),
    (lambda path: (path.unlink(), path.mkdir()), "no readable mask"),
    (a_link_to_itself, "no readable mask"),
    (a_pipe, "a pipe or a device, no file"),
    (lambda path: Image.new("RGB", (40, 30)).save(path), "expected one channel"),
    (lambda path: Image.new("LA", (40, 30)).save(path), "expected one channel"),
    (lambda path: Image.new("L", (40, 30), 7).save(path), "holds 7; expected"),
    (lambda path: Image.new("I;16", (40, 30), 700).save(path), "holds 700; expected"),
]


@pytest.mark.parametrize("values", [masks.LABELS, masks.TRIMAP], ids=["mask", "trimap"])
@pytest.mark.parametrize(("spoil", "line"), MASKS, ids=range(len(MASKS)))
def test_mask(tmp_path, spoil, line, values):
    path = tmp_path / "mask.png"
    masks.save(path, np.ones((300, 400), np.uint8))
    spoil(path)
    with pytest.raises(InputError, match=line) as error:
        masks.read(path, values=values)
    assert len(str(error.value).splitlines()) == 1


# --- checkpoints ---


OWNED = Path(tempfile.gettempdir()) / "owned_by_a_checkpoint"


class Evil:
    def __reduce__(self):
        return (os.mkdir, (str(OWNED),))


def saved(value, **options):
    content = io.BytesIO()
    torch.save(value, content, **options)
    return content.getvalue()


def zipped(**entries):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return content.getvalue()


WHOLE = {"network": "segmenter", "segmenter": "unet", "backbone": "resnet18", "size": 48,
         "reading": finishing.reading((1.0,)), "state": {}}  # fmt: skip
CHECKPOINTS = [
    (b"", "is not a readable checkpoint"),
    (b"hello", "is not a readable checkpoint"),
    (pickle.dumps(Evil()), "is not a readable checkpoint"),
    (saved(Evil()), "is not a readable checkpoint"),
    (saved({"network": "segmenter", "state": Evil()}), "is not a readable checkpoint"),
    (saved(Evil(), _use_new_zipfile_serialization=False), "is not a readable checkpoint"),
    (zipped(a="b"), "is not a readable checkpoint"),
    (zipped(**{"archive/data.pkl": pickle.dumps(Evil())}), "is not a readable checkpoint"),
    (zipped(**{"../../evil/data.pkl": "x"}), "is not a readable checkpoint"),
    (saved(torch.arange(5000.0))[:3000], "is not a readable checkpoint"),
    (flipped(saved(torch.arange(5000.0)), 9000), "is damaged"),
    (saved([1, 2]), "is no checkpoint of this project"),
    (saved(torch.ones(3)), "is no checkpoint of this project"),
    (saved({}), "is no checkpoint of this project"),
    (saved({"network": "ccam"}), "holds a ccam on None, not a segmenter"),
    (saved({"network": ["x"] * 9999}), "not a segmenter"),
    (saved({"network": "segmenter"}), "its backbone is missing or damaged"),
    (saved(WHOLE | {"state": [1]}), "its state is missing or damaged"),
    (saved(WHOLE | {"size": "48"}), "its size is missing or damaged"),
    (saved(WHOLE | {"size": -48}), "its size is missing or damaged"),
    (saved(WHOLE | {"reading": 5}), "its reading is missing or damaged"),
    (saved(WHOLE | {"reading": {}}), "its reading is missing or damaged"),
    (saved(WHOLE | {"reading": finishing.reading((float("nan"),))}), "its reading is missing or damaged"),
    (saved(WHOLE | {"reading": finishing.reading((1.0, float("nan")))}), "its reading is missing or damaged"),
    (saved(WHOLE | {"reading": finishing.reading((10**400,))}), "its reading is missing or damaged"),
    (saved(WHOLE | {"reading": finishing.reading((1.0,)) | {"dilation": 1e9}}), "its reading is missing or damaged"),
    (saved(WHOLE | {"reading": finishing.reading((1.0,)) | {"keep": "all"}}), "its reading is missing or damaged"),
    (saved(WHOLE | {"reading": finishing.reading((1.0,)) | {"level": 2}}), "its reading is missing or damaged"),
    (saved(WHOLE | {"segmenter": "backbone_unet", "backbone": "timm:hf-hub:a/b"}), "is no name of a network of timm's"),
    (saved(WHOLE | {"segmenter": "backbone_unet", "backbone": "timm:../x"}), "is no name of a network of timm's"),
    (saved(WHOLE | {"segmenter": "smp:Unet:resnet18:x"}), "expected smp:ARCHITECTURE:ENCODER"),
    (saved(WHOLE | {"state": {"score.weight": torch.full((3,), float("nan"))}}), "holds what is no finite number"),
    (
        saved(WHOLE | {"state": {"score.weight": torch.ones(3, dtype=torch.complex64)}}),
        "holds what is no finite number",
    ),
    (saved(WHOLE | {"state": {"score.weight": torch.eye(3).to_sparse()}}), "holds what is no finite number"),
    (saved(WHOLE | {"segmenter": "../x"}), "unknown segmenter"),
    (saved(WHOLE | {"segmenter": "backbone_unet", "backbone": "no"}), "unknown backbone"),
    (saved(WHOLE), "does not hold weights of this network"),
    (saved(WHOLE | {"state": {"score.weight": torch.ones(3)}}), "does not hold weights of this network"),
    (saved(WHOLE | {"state": {1: 2}}), "does not hold weights of this network"),
]


@pytest.mark.parametrize(("content", "line"), CHECKPOINTS, ids=range(len(CHECKPOINTS)))
def test_checkpoint(tmp_path, content, line):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(InputError, match=line) as error:
        segmenters.load(tmp_path / "checkpoint.pt")
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 500
    assert not OWNED.exists()


@pytest.mark.parametrize(
    "constants", [{"x": 1}, {"iterations": -1}, {"max_side": "9"}, {"iterations": float("nan")}, {"iterations": 2.5}]
)
def test_dense_crf_of_a_checkpoint(constants):
    with pytest.raises(InputError, match="the dense CRF"):
        finishing.refinement(finishing.reading((1.0,)) | {"crf": constants})


OTHERS = [
    (classifiers.load, {"network": "classifier", "backbone": "resnet18", "classes": 3, "state": {}}, "its classes"),
    (classifiers.load, {"network": "classifier", "backbone": "resnet18", "classes": [], "state": {}}, "its classes"),
    (classifiers.load, {"network": "classifier", "backbone": "resnet18", "classes": [1], "state": {}}, "its classes"),
    (classifiers.load, {"network": "classifier", "backbone": "resnet34"}, "not a classifier on resnet18"),
    (ccam.load, {"network": "ccam", "backbone": "resnet18", "guided": 1, "state": {}}, "its head_cl"),
    *((ccam.load, {"network": "ccam", "backbone": "resnet18", "head_classes": ["pet"], "guided": True,
                   "state": state}, "does not hold weights")
      for state in ({}, {"fc.weight": torch.tensor(1.0)}, {"fc.weight": 5})),
]  # fmt: skip


def test_a_class_without_a_photo_to_learn_from():
    photos, model = SimpleNamespace(root="photos", trainval=np.arange(2)), SimpleNamespace(heads=range(3))
    with pytest.raises(InputError, match="1 of 3 classes have no trainval photo in photos"):
        class_specific_ccam.train(None, photos, model, np.array([0, 2, 1]), epochs=1, batch_size=2, alpha=1, head_lr=1)


@pytest.mark.parametrize(("load", "content", "line"), OTHERS, ids=range(len(OTHERS)))
def test_checkpoint_of_another_kind(settings, tmp_path, load, content, line):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=line):
        load(settings, tmp_path / "checkpoint.pt")


# --- what runs say of themselves ---

JSONS = ["", "{", "[]", "5", '"x"', "{}", '{"settings": 1', "\0", "[" * 100_000, "\ufeff"]


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
@pytest.mark.parametrize("text", JSONS, ids=range(len(JSONS)))
def test_json_of_a_run(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"{name} is damaged .*--overwrite") as error:
        {"config.json": records.config_of, "summary.json": records.summary_of}[name](tmp_path)
    assert len(str(error.value).splitlines()) == 1


PARTS = [
    ("summary.json", "seconds", ["x", None, float("nan"), 10**400, True]),
    ("summary.json", "metrics", [[1], None, {"test": 5}, {"test": {"pet_iou": "x"}}, {"test": {"pet_iou": math.nan}}]),
    ("config.json", "digests", [None, 5, ["weights"], {"a": 5}]),
    ("config.json", "upstreams", [None, [], {"a": 5}]),
]


@pytest.mark.parametrize(
    ("name", "key", "value"), [(name, key, value) for name, key, values in PARTS for value in values]
)
def test_part_of_a_json_of_a_run(tmp_path, name, key, value):
    whole = {"config.json": {"settings": {}, "constants": {}, "photos": {}, "digests": {}, "upstreams": {}},
             "summary.json": {"stage": "a", "seconds": 1.5, "metrics": {"test": {"pet_iou": 0.5}}}}[name]  # fmt: skip
    read = {"config.json": records.config_of, "summary.json": records.summary_of}[name]
    files.write_json(tmp_path / name, whole)
    assert read(tmp_path) == whole
    files.write_json(tmp_path / name, whole | {key: value})
    with pytest.raises(InputError, match=f"{name} is .*--overwrite"):
        read(tmp_path)


# --- flags and environment ---

FLAGS = [
    (["--epohcs", "2"], "unrecognized arguments"),
    (["--epochs"], "expected one argument"),
    (["--epochs", "two"], "invalid int value"),
    (["--epochs", "1.5"], "invalid int value"),
    (["--epochs", "0"], "at least 1"),
    (["--epochs", "9" * 30], "at most 1000000"),
    (["--seed", "-1"], "at least 0"),
    (["--seed", "9" * 30], "at most 4294967295"),
    (["--passes", "nan"], "no finite number"),
    (["--passes", "inf"], "no finite number"),
    (["--passes", "-1"], "at least 0"),
    (["--image-size", "50"], "a multiple of 16"),
    (["--image-size", "32"], "at least 48"),
    (["--image-size", "999999"], "at most 4096"),
    (["--batch-size", "0"], "at least 1"),
    (["--head-lr", "nan"], "no finite number"),
    (["--head-lr", "-1"], "at least 0"),
    (["--alpha", "inf"], "no finite number"),
    (["--alpha=-1e30"], "at least 0"),
    (["--frozen-stages", "6"], "at most 5"),
    (["--init", "../../x"], "unknown init"),
    (["--init", "foo"], "unknown init 'foo'"),
    (["--backbone", "resnet9"], "unknown backbone"),
    (["--backbone", "timm:no_such_network"], "no_such_network"),
    (["--backbone", "timm:hf-hub:no/such"], "is no name of a network of timm's"),
    (["--data-root", ""], "argument --data-root: it is empty"),
    (["--runs-root", ""], "argument --runs-root: it is empty"),
    (["--weights", ""], "argument --weights: it is empty"),
    (["--weights", "/nowhere.pth"], "no such weights file"),
    (["--weights", "/dev/null"], "not a readable checkpoint"),
    (["--layout", "foo"], "unknown layout"),
    (["--data-root", "/nowhere"], "no data root"),
    (["--data-root", "/dev/null"], "no data root"),
    (["--data-root", "~nobody-of-this-name/x"], "no data root"),
    (["--runs-root", "/dev/null"], "file, not a folder"),
    (["--runs-root", "/proc/runs"], "/proc/runs"),
    (["--runs-root", "/" + 300 * "x"], "too long"),
]


@pytest.mark.parametrize(("words", "line"), FLAGS, ids=[" ".join(words)[:40] for words, _ in FLAGS])
def test_flag(script, words, line):
    refused(script, ["train_ccam/train_ccam.py", *words_of(script, words)], line, tiny=False)


def words_of(script, words):
    """The tiny flags, those of a case last."""
    return [*TINY, "--data-root", str(script.data_root), "--runs-root", str(script.runs_root), *words]


FOLDERS = [
    ("train_ccam/ensemble_masks.py", ["--scales", "0"], "at least 0.1"),
    ("train_ccam/ensemble_masks.py", ["--bilateral-sxy", "0"], "bilateral_sxy is 0.0; expected above 0"),
    ("train_ccam/ensemble_masks.py", ["--bilateral-compat", "-1"], "bilateral_compat is -1.0; expected at least 0"),
    ("train_ccam/ensemble_masks.py", ["--members", "ccam"], "unknown init ''"),
    ("train_ccam/evaluate_ccam.py", ["--init", "cats"], "unknown init 'cats'"),
    ("train_classifier/evaluate_cam.py", ["--method", "cam_ecs", "--options", "delta=nan"], "'nan' is not a number"),
    ("reproduce.py", ["--sheet", "mysheet"], "the name of a picture"),
    ("reproduce.py", ["--photos-a-pass", "-3"], "at least 1"),
    ("reproduce.py", ["--least-sure", "0"], "at least 1"),
    ("train_ccam/train_ccam_ecs.py", ["--theta", "2"], "at most 1"),
    ("train_ccam/ensemble_masks.py", ["--scales", "nan"], "no finite number"),
    ("train_ccam/ensemble_masks.py", ["--scales", "1", "99"], "at most 8"),
    ("train_ccam/ensemble_masks.py", ["--threshold", "2"], "at most 1"),
    ("train_unet/train_on_ensemble.py", ["--masks", ".."], "names a folder"),
    ("train_unet/evaluate_unet.py", ["--model", "../evaluate_unet"], "unknown model"),
    ("train_unet/predict.py", ["/nowhere.jpg"], "no such photo or folder|no finished segmenter"),
    ("train_unet/predict.py", [""], "argument photos: one is empty"),
    ("train_unet/predict.py", ["/nowhere.jpg", "--out", ""], "argument --out: it is empty"),
    ("train_classifier/pretrain_on_drawings.py", ["--held-out", "0"], "at least 1"),
    ("train_unet/score_masks.py", ["--masks", "a", "--pet-values", "300"], "at most 255"),
    ("train_unet/score_masks.py", ["--masks", "a", "a"], "each once"),
    ("train_unet/predict.py", ["/nowhere.jpg", "--checkpoint", "/dev/null"], "not a readable checkpoint|no such photo"),
    ("train_unet/score_masks.py", ["--masks", "/nowhere"], "no folder of masks"),
    ("train_unet/train_on_gt.py", ["--segmenter", "deeplabv3_mobilenet_v3_large", "--size", "48", "--batch-size", "1",
                                   "--epochs", "1"], "cannot train on a lone photo"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "words", "line"), FOLDERS, ids=range(len(FOLDERS)))
def test_flag_of_another_script(script, path, words, line):
    code, _, err = script(path, *words)
    assert (code, len(err.splitlines())) == (2, 1) and any(part in err for part in line.split("|")), err


@pytest.mark.parametrize("name", ["../../x", "/etc", "..", "a/b", "a b", "a\nb", "\0", "C:x"])
def test_name_of_a_run(name):
    with pytest.raises(InputError, match="names a folder"):
        runs.stage_name("train_ccam/ensemble_masks.py", name=name)


def test_nobody_reads_what_is_printed(script, monkeypatch):
    """`predict.py photos --json | head -1` ends without a traceback."""
    command = [sys.executable, str(ROOT / "train_ccam" / "train_ccam.py"), *words_of(script, ["--epochs", "1"])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141 and "Traceback" not in err, err


def test_torchrun_of_a_script_that_runs_alone():
    words, env = [sys.executable, str(ROOT / "reproduce.py"), "--list"], {**os.environ, "WORLD_SIZE": "2"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: torchrun is for scripts that train or make masks; start this one with python\n"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_weights_of_an_earlier_download(settings, monkeypatch, tmp_path, content):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = Path(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url).name
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / name).write_bytes(content)
    settings.backbone, settings.weights = "resnet18", "imagenet"
    with pytest.raises(InputError, match=r"resnet18 cannot be had \(.*\); give --weights FILE, or delete .*hub"):
        classifiers.pretrained(settings)


def test_nothing_to_train(script):
    code, _, err = script("train_ccam/train_ccam.py", "--head-lr", "0")
    assert code == 2 and "nothing would be trained; give --head-lr above 0" in err.splitlines()[-1]


def test_environment_of_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")  # as a cluster's batch system may set it
    with pytest.raises(InputError, match="WORLD_SIZE without RANK, LOCAL_RANK, MASTER_ADDR, ..."):
        distributed.start()
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(InputError, match="WORLD_SIZE"):
        distributed.start()


# --- archives: of scenes, whose authors publish no checksum ---


def archive_with(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            tar.addfile(info, io.BytesIO(content))


PHOTO = image("JPEG", (30, 30))
ARCHIVES = [
    [("../../images/evil.jpg", tarfile.REGTYPE, PHOTO)],
    [("/images/evil.jpg", tarfile.REGTYPE, PHOTO)],
    [("x/images/link.jpg", tarfile.SYMTYPE, b"")],
    [("x/images/link.jpg", tarfile.LNKTYPE, b"")],
    [("x/images/device.jpg", tarfile.CHRTYPE, b"")],
    [("x/images/pipe.jpg", tarfile.FIFOTYPE, b"")],
    [("x/images/folder.jpg", tarfile.DIRTYPE, b"")],
    [("x/images/bomb.jpg", tarfile.REGTYPE, bytes(30_000_000))],
    [("x/images/.jpg", tarfile.REGTYPE, PHOTO)],
    [("x/images/a.jpg", tarfile.REGTYPE, PHOTO), ("y/images/a.jpg", tarfile.REGTYPE, PHOTO)],
]


@pytest.mark.parametrize("members", ARCHIVES, ids=range(len(ARCHIVES)))
def test_archive(tmp_path, monkeypatch, members):
    """Nothing is written outside the data root, and links, devices and bombs are refused."""
    archive_with(tmp_path / "archive", *members)
    monkeypatch.setattr(download, "_fetch", lambda url, path: shutil.copy(tmp_path / "archive", path))
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match="the background photos were not downloaded"):
        download.backgrounds(tmp_path / "home", "http://127.0.0.1/", expected=len(members))
        if members[0][0].endswith("evil.jpg"):  # taken by its last name alone, which is harmless
            assert [p.name for p in (tmp_path / "home" / "background").rglob("*.jpg")] == ["evil.jpg"]
            raise InputError("the background photos were not downloaded elsewhere")
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "home"} and not Path("/images/evil.jpg").exists()


# --- names of files ---

NAMES = ["a b", "ä", "日本語", "'quote\"", "semi;colon", "-dash", "%s{0}", "x" * 200, "new\nline", "tab\t"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_odd_names_of_photos_are_read_and_masked(settings, tmp_path, name):
    settings.data_root = tmp_path / "own"
    folder = settings.data_root / "mugs"
    folder.mkdir(parents=True)
    for k in range(6):
        Image.new("RGB", (30, 30), (k, 0, 0)).save(folder / f"{name}{k}.png")
    photos = data.load(settings)
    run = runs.Run(settings)
    predict = lambda index: np.ones((len(index), 48, 48), np.float32)  # noqa: E731
    masks.write(run.path, photos, predict, {"masks": finishing.Recipe()})
    assert {path.stem for path in (run.path / "masks" / "mugs").iterdir()} == {f"{name}{k}" for k in range(6)}
    assert not list(run.path.rglob("*.part"))


def test_the_table_is_long_enough():
    tables = [PHOTOS, ODD_FILES, LISTS, SUBSETS, XMLS, BOXES, MASKS, MASKS, CHECKPOINTS, OTHERS, JSONS, JSONS, FLAGS,
              FOLDERS, ARCHIVES, NAMES]  # fmt: skip
    assert sum(map(len, tables)) >= 120


def test_nothing_unpickles():
    """torch.load is called in one place, with weights_only; pickle, eval and exec nowhere."""
    root = Path(cli.ROOT)
    for path in [*root.glob("src/**/*.py"), *root.glob("train_*/*.py"), *root.glob("*.py")]:
        text = path.read_text()
        assert ("torch.load(" in text) == (path.name == "checkpoints.py"), path
        assert not any(word in text for word in ("import pickle", 'eval("', " exec(", "allow_pickle=True")), path
    assert "weights_only=True" in Path(checkpoints.__file__).read_text()


def test_messages_are_one_line_whatever_a_name_holds(tmp_path, capfd):
    (tmp_path / "line.txt").write_bytes(b"\xff")
    odd = tmp_path / "two\nlines.txt"
    shutil.copy(tmp_path / "line.txt", odd)
    main = lambda settings: files.read_text(odd)  # noqa: E731
    module = {"__file__": str(Path(cli.ROOT) / "train_ccam" / "train_ccam.py"), "__doc__": ""}
    with pytest.raises(SystemExit) as stop:
        cli.run(main, module, [])
    assert stop.value.code == 2 and len(capfd.readouterr().err.splitlines()) == 1
    assert json.dumps("x") and sys.stdout
