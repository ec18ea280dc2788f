"""Whatever bytes a file holds, its parser reads it or says one line.

For longer: python -m pytest tests/test_fuzz.py --hypothesis-profile long
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from src import InputError, checkpoints, cli, files, records
from src.data import boxes, decoding, oxford_pets, pascal_voc, subset
from src.models import segmenters
from src.postprocessing import finishing, masks

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["settings", "constants", "stage", "seconds", "metrics", "images", "annotations", "id", "image_id", "bbox",
         "file_name", "width", "height", "iscrowd"]), inner, max_size=6),
    max_leaves=20,
)  # fmt: skip
LINES = st.lists(st.lists(st.text(max_size=6) | st.sampled_from(["1", "2", "trainval", "0.5", "nan", "²"]), max_size=6))


def buffer(write):
    content = io.BytesIO()
    write(content)
    return content.getvalue()


def damaged(whole):
    """Strategy: some bytes, or a whole file in which some are others or missing."""
    cut = st.integers(0, len(whole)).map(lambda n: whole[:n])
    spots = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=5)
    return st.binary(max_size=200) | cut | spots.map(lambda some: bytes(replaced(whole, some)))


def replaced(whole, some):
    content = bytearray(whole)
    for at, value in some:
        content[at] = value
    return content


@contextlib.contextmanager
def file_of(content, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        yield path


def reads_or_refuses(content, name, *parsers):
    with file_of(content, name) as path:
        for parse in parsers:
            try:
                parse(path)
            except InputError as error:
                assert str(error).strip()


TEXT = LINES.map(lambda lines: "\n".join(" ".join(words) for words in lines)) | st.text(max_size=60)


@given(TEXT | st.binary(max_size=80))
@example(b"\xef\xbb\xbfa 1 1 1")
@example("Abyssinian_1 ² 1 1")
@example("a 1\x851 1")
def test_lists(content):
    reads_or_refuses(content, "list.txt", oxford_pets.read_list, subset._read)
    reads_or_refuses(
        content, "photo.txt", lambda path: boxes._read_yolo(path.with_suffix(".jpg"), path.parent, "photo")
    )


@given(JSON.map(json.dumps) | st.binary(max_size=80))
@example('{"images": [], "annotations": {"bbox": 1}}')
def test_json(content):
    reads_or_refuses(
        content, "config.json", files.read_json, lambda path: records.config_of(path.parent),
        lambda path: boxes._read_coco([path]),
    )  # fmt: skip


XML = "<annotation><size><width>9</width><height>9</height></size><object><name>cat</name><bndbox><xmin>1</xmin>" \
      "<ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"  # fmt: skip


@given(damaged(XML.encode()))
@example(XML.replace("9", "nan").encode())
@example(XML.replace("9", "1e999").encode())
def test_annotations(content):
    def read(path):
        Image.new("RGB", (9, 9)).save(path.with_suffix(".png"))
        return boxes._read_xml(path.with_suffix(".png"), path.parent, "a", alone=True)

    reads_or_refuses(content, "a.xml", pascal_voc._classes, read)


@given(damaged(buffer(lambda file: Image.new("P", (30, 20), 1).save(file, "PNG"))))
def test_masks(content):
    reads_or_refuses(content, "mask.png", masks.read, lambda path: masks.read(path, 16, masks.LABELS))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "PCX"])
@given(choice=st.data())
def test_photos(kind, choice):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    content = choice.draw(damaged(buffer(lambda file: noise.save(file, kind))))
    reads_or_refuses(content, f"photo.{kind.lower()}", lambda path: decoding.decode(path, 16), decoding.upright_size)


NETWORK = segmenters.untrained("unet", "resnet18")
SETTINGS = type("Settings", (), {"backbone": "resnet18"})
WHOLE = segmenters.checkpoint(NETWORK, "unet", SETTINGS, 48, finishing.reading((1.0,)))
SMALL = WHOLE | {"state": {"score.bias": torch.zeros(2)}}


@given(damaged(buffer(lambda file: torch.save(SMALL, file))))
def test_bytes_of_checkpoints(content):
    reads_or_refuses(content, "checkpoint.pt", checkpoints.read, segmenters.load)


@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), JSON, max_size=3), st.sets(st.sampled_from(sorted(WHOLE))))
def test_contents_of_checkpoints(other, missing):
    content = {key: value for key, value in (SMALL | other).items() if key not in missing}
    reads_or_refuses(buffer(lambda file: torch.save(content, file)), "checkpoint.pt", segmenters.load)


SCRIPTS = [path for path in cli.ROOT.glob("train_*/*.py") if "cli.run" in path.read_text()]
FLAGS = [
    "--epochs",
    "--seed",
    "--scales",
    "--passes",
    "--image-size",
    "--amp",
    "--no-amp",
    "--lr",
    "--threshold",
    "--init",
]
VALUES = st.sampled_from([*FLAGS, "1", "0", "-1", "nan", "1e999", "48", "0.5", "True", "²"]) | st.text(max_size=6)


@given(st.sampled_from(SCRIPTS), st.lists(VALUES, max_size=5))
def test_flags(path, words):
    """Flags are taken, or the program ends with code 2 and one line; --help with 0."""
    script = {"__file__": str(path), "__doc__": ""}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" = ")
        if name.isupper() and "  # " in value:
            with contextlib.suppress(SyntaxError, NameError):
                exec(line, script)
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.override(script, [word.replace("\0", "") for word in words])
        except SystemExit as stop:
            assert stop.code in (0, 2) and (stop.code == 0 or err.getvalue().startswith("error: "))
