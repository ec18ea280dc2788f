"""The demo's backbone: the file that comes with the project, and a short run of the script that made it."""

import hashlib
import re

import pytest
import torch

from conftest import ROOT
from src import InputError, checkpoints
from src.drawings import figures, painter, sample
from src.models import classifiers

FILE = ROOT / "data" / "drawings-mobilenet_v2.pt"


def test_the_backbone_is_what_its_text_says(settings):
    text = FILE.with_suffix(".md").read_text()
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() in text
    assert FILE.stat().st_size <= 8e6 and f"{FILE.stat().st_size:,} bytes" in text
    state = checkpoints.read(FILE)["state"]
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float16}
    settings.backbone, settings.weights = "mobilenet_v2", str(FILE)
    model = classifiers.pretrained(settings)
    assert model.fc.out_features == len(sample.PRETEXT_KINDS) and next(model.parameters()).dtype == torch.float32


def test_a_changed_file_is_refused(tmp_path):
    beside = FILE.with_name(f"{FILE.name}.sha256")
    content = FILE.read_bytes()
    (tmp_path / beside.name).write_bytes(beside.read_bytes())
    (tmp_path / FILE.name).write_bytes(content)
    assert checkpoints.read(tmp_path / FILE.name)["network"] == "classifier"
    (tmp_path / FILE.name).write_bytes(content[:-1] + b"x")
    with pytest.raises(InputError, match="does not have the digest of"):
        checkpoints.read(tmp_path / FILE.name)


def test_a_short_run_makes_such_a_file(script, settings):
    small = ["--drawings", "32", "--held-out", "16", "--size", "32", "--epochs", "1", "--batch-size", "16"]
    shared = ["--runs-root", script.runs_root, "--image-size", "48", "--weights", "random"]
    code, out, err = script("train_classifier/pretrain_on_drawings.py", *small, *shared, tiny=False)
    assert code == 0, err
    assert re.search(r"held_out: accuracy 0\.\d+", out)
    path = script.runs_root / "pretrain_on_drawings" / "seed0" / "checkpoint.pt"
    assert re.search(rf"next: python .*train_classifier_cat_dog.py --weights {re.escape(str(path))} ", out)
    assert out.count("--weights") == 1
    ours, theirs = checkpoints.read(path), checkpoints.read(FILE)
    assert ours["image_size"] == 32  # of --size; the shipped file, which is older, says 224
    assert {k: (v.shape, v.dtype) for k, v in ours["state"].items()} == {
        k: (v.shape, v.dtype) for k, v in theirs["state"].items()
    }
    assert abs(path.stat().st_size - FILE.stat().st_size) < 10_000
    settings.backbone, settings.weights = "mobilenet_v2", str(path)
    classifiers.pretrained(settings)


def test_the_three_labels_of_a_drawing():
    drawings, labels = sample.pretext(18, 32, 0)
    assert drawings.shape == (18, 3, 32, 32) and labels.shape == (18, 3)
    kinds, scenes, colours = labels.T
    assert kinds.tolist() == [i % len(sample.PRETEXT_KINDS) for i in range(18)]
    assert 0 <= scenes.min() and scenes.max() < len(painter.SCENES)
    pets = kinds < len(sample.PETS)
    assert (colours[pets] < len(figures.COLOURS)).all() and (colours[~pets] == len(figures.COLOURS)).all()
