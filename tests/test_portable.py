"""A segmenter elsewhere: other programs get from its files what this project gets from its checkpoint."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from conftest import ROOT, sure
from src import portable, prediction
from src.models import segmenters
from src.postprocessing import finishing

SIDE, SCALE = 48, 1.33  # of training, and of what the network sees: 64 pixels


@pytest.fixture(scope="module")
def photo():
    """Blobs, so that a network answers both ways."""
    values = np.random.default_rng(0).integers(0, 255, (7, 9, 3), np.uint8)
    return Image.fromarray(values).resize((150, 110), Image.Resampling.BICUBIC)


def checkpoint(name, path, photo):
    """An untrained segmenter that is as sure as a trained one."""
    torch.manual_seed(0)
    model = sure(segmenters.untrained(name, "resnet18"), photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    settings = type("Settings", (), {"backbone": "resnet18"})
    path.mkdir()
    torch.save(
        segmenters.checkpoint(model, name, settings, SIDE, finishing.reading((SCALE, 1.5), None, 0.02)),
        path / "checkpoint.pt",
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory, photo):
    """(run directory, folder of its export), made by the script."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    if torch.__version__ < portable.TORCH:
        pytest.skip(f"an export needs torch {portable.TORCH}")
    base = tmp_path_factory.mktemp("portable")
    checkpoint("backbone_unet", base / "run", photo)
    words = [ROOT / "train_unet/export_segmenter.py", "--run", base / "run", "--out", base / "out"]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in base.iterdir()) == ["out", "run"]
    return base / "run", base / "out"


def test_onnx_and_torch_export_agree_with_the_network_at_any_batch_size(exported):
    import onnxruntime

    run, out = exported
    network = prediction.load(run / "checkpoint.pt", fast=True, amp=False).network.cpu()
    session = onnxruntime.InferenceSession(str(out / "segmenter.onnx"), providers=["CPUExecutionProvider"])
    program = torch.export.load(out / "segmenter.pt2").module()
    about = json.loads((out / "segmenter.json").read_text())
    for end, said in ((session.get_inputs()[0], about["input"]), (session.get_outputs()[0], about["output"])):
        assert end.name == said["name"] and end.shape == said["shape"]
    for count in (1, 2, 5):
        photos = torch.randn(count, 3, SIDE, SIDE)
        with torch.no_grad():
            scaled = F.interpolate(photos, (64, 64), mode="bilinear")
            expected = F.interpolate(network(scaled).softmax(1)[:, 1:], (SIDE, SIDE), mode="bilinear")[:, 0]
            assert (program(photos) - expected).abs().max() < 1e-4
        (found,) = session.run(None, {"photos": photos.numpy()})
        assert found.shape == expected.shape and np.abs(found - expected.numpy()).max() < 1e-3


def test_the_example_makes_the_same_masks_without_torch(exported, photo, tmp_path):
    run, out = exported
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, options in (("a.png", {}), ("b.png", {"exif": turned})):
        photo.save(tmp_path / name, **options)
        code = ("import runpy, sys; sys.modules.update(torch=None, torchvision=None, src=None); "
                "runpy.run_path(sys.argv[0], run_name='__main__')")  # fmt: skip
        words = [str(out / "example.py"), str(tmp_path / name), str(tmp_path / "mask.png")]
        code = f"import sys; sys.argv = {words!r}; {code}"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = np.array(Image.open(tmp_path / "mask.png"))
        expected = prediction.load(run / "checkpoint.pt", fast=True, amp=False)(Image.open(tmp_path / name))
        assert set(np.unique(found)) == {0, 255} and 0.1 < expected.mean() < 0.9
        assert found.shape == expected.shape and ((found > 0) != expected).mean() < 1e-3


def test_the_example_leaves_a_mask_empty_that_the_network_does_not_believe(exported, photo, tmp_path):
    out = shutil.copytree(exported[1], tmp_path / "out")
    about = json.loads((out / "segmenter.json").read_text())
    about["mask"]["empty_below"] = 1.0
    (out / "segmenter.json").write_text(json.dumps(about))
    photo.save(tmp_path / "a.png")
    words = [sys.executable, out / "example.py", tmp_path / "a.png", tmp_path / "mask.png"]
    assert subprocess.run(list(map(str, words)), capture_output=True, text=True).returncode == 0
    assert not np.array(Image.open(tmp_path / "mask.png")).any()


def test_the_example_is_fifteen_lines(exported):
    text = (exported[1] / "example.py").read_text().split('"""')[2].split("Image, ImageOps\n")[1]
    assert len([line for line in text.splitlines() if line]) <= 15


def test_an_export_is_replaced_and_nothing_else(script, exported, tmp_path):
    run, _ = exported
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    flags = ("train_unet/export_segmenter.py", "--out", tmp_path / "out", "--run")
    code, _, err = script(*flags, run, tiny=False)
    assert code == 2 and "in the way" in err and [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_what_is_missing_is_one_line(script, monkeypatch, tmp_path):
    code, _, err = script("train_unet/export_segmenter.py", tiny=False)
    assert code == 2 and "--run wants" in err and len(err.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = script("train_unet/export_segmenter.py", "--run", tmp_path, "--out", tmp_path / "out", tiny=False)
    assert code == 2 and "pip install onnx onnxscript" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
