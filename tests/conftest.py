"""A tiny drawn data root, and scripts run as a user runs them (in this process, to import torch once)."""

import os
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from src import sample

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("train_*/*.py"))
TINY = ["--backbone", "resnet18", "--weights", "random", "--image-size", "48"]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A drawn data root of 4 breeds, cats and dogs: 3 trainval and 2 test photos each, 4 scenes."""
    root = tmp_path_factory.mktemp("drawn") / "data"
    sample.draw(root, breeds=4, trainval=3, test=2, background=4)
    return root


@pytest.fixture
def data_root(drawn, tmp_path):
    """A copy of the drawn data root that a test may spoil."""
    return Path(shutil.copytree(drawn, tmp_path / "data"))


@pytest.fixture
def settings(data_root, tmp_path):
    """What cli.override returns, for calling functions of src directly."""
    return SimpleNamespace(
        data_root=data_root, runs_root=tmp_path / "runs", seed=0, backbone="resnet18", weights="random", image_size=48,
        amp=False, skip_bad_photos=False, overwrite=False, script=ROOT / "train_ccam" / "train_ccam.py", constants={},
        upstreams={},
    )  # fmt: skip


@pytest.fixture
def script(monkeypatch, capfd, data_root, tmp_path):
    """Function: run a script with flags from the directory /; returns (exit code, stdout, stderr)."""
    runs_root = tmp_path / "runs"

    def run(path, *flags, tiny=True):
        words = [str(ROOT / path), *map(str, flags)]
        if tiny:
            words += [*TINY, "--data-root", str(data_root), "--runs-root", str(runs_root)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.chdir("/")
        code = 0
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capfd.readouterr()
        return code, out, err

    run.data_root, run.runs_root = data_root, runs_root
    return run


@pytest.fixture(scope="session")
def pets_root():
    """Real photographs, where the environment names them."""
    if not os.environ.get("PETS_ROOT"):
        pytest.skip("PETS_ROOT is not set: no real photographs here")
    return Path(os.environ["PETS_ROOT"])
