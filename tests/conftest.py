"""A tiny drawn data root, and scripts run as a user runs them (in this process, to import torch once)."""

import os
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
import torch

import experiments
from src import compute, runs
from src.drawings import sample

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("train_*/*.py"))
ONE_SCALE = ["--scales", "1.0"]
TINY_FLAGS = {  # by the beginning of a script's name, the first that fits
    "train_on_ensemble_gt": ["--epochs", "1", *ONE_SCALE],
    "train_on_ensemble": ["--epochs", "1", "--rounds", "2", *ONE_SCALE],
    "train_on": ["--epochs", "1", "--size", "48"],
    "train": ["--epochs", "1"],
    "evaluate_unet": [],
    "": ONE_SCALE,
}
CHAIN = {e.name: e for e in experiments.chain()}
TINY = ["--backbone", "resnet18", "--weights", "random", "--image-size", "48"]


hypothesis.settings.register_profile("quick", max_examples=25, deadline=None)
hypothesis.settings.register_profile("long", max_examples=20_000, deadline=None)
hypothesis.settings.load_profile("quick")

LONG = ("test_chain.py", "test_distributed.py", "test_tour.py")

DRAWN = {"breeds": 4, "trainval": 3, "test": 2, "background": 4}  # photos of a breed in each split, scenes
TRAINVAL, TEST = DRAWN["breeds"] * DRAWN["trainval"], DRAWN["breeds"] * DRAWN["test"]


def run_stage(script, experiment, seed=0):
    """Run an experiment, shrunk, in fp32; returns its run directory."""
    stem = Path(experiment.script).stem
    tiny = next(flags for start, flags in TINY_FLAGS.items() if stem.startswith(start))
    variant = [word for name, value in experiment.variant.items() for word in (f"--{name}", value)]
    code, _, err = script(experiment.script, *variant, *experiment.flags, *tiny, "--no-amp", "--seed", seed)
    assert code == 0, f"{experiment.name}: {err}"
    return script.runs_root / experiment.name / f"seed{seed}"


def sure(segmenter, photo):
    """An untrained segmenter made as sure as a trained one, which answers both ways on a photo (PIL, its side)."""
    batch = torch.from_numpy(np.array(photo).transpose(2, 0, 1)[None])
    with torch.no_grad():
        logits = segmenter.eval()(compute.normalise(batch).cpu())[0]
        margin = logits[1] - logits[0]
        bias = segmenter.score.bias - torch.stack([0 * margin.median(), margin.median()])
        segmenter.score.bias.copy_(bias * 8 / margin.std())
        segmenter.score.weight *= 8 / margin.std()
    return segmenter


def pytest_collection_modifyitems(items):
    """Long files come first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_addoption(parser):
    parser.addoption("--record-digests", action="store_true", help="keep this machine's digests of the tiny chain")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A drawn data root of 4 breeds, cats and dogs: 3 trainval and 2 test photos each, 4 scenes."""
    root = tmp_path_factory.mktemp("drawn") / "data"
    sample.draw(root, **DRAWN)
    return root


@pytest.fixture
def data_root(drawn, tmp_path):
    """A copy of the drawn data root that a test may spoil."""
    return Path(shutil.copytree(drawn, tmp_path / "data"))


@pytest.fixture
def settings(data_root, tmp_path):
    """What cli.override returns, for calling functions of src directly."""
    return SimpleNamespace(
        data_root=data_root, layout="auto", runs_root=tmp_path / "runs", seed=0, backbone="resnet18", weights="random",
        image_size=48, amp=False, sync_batchnorm=False, passes=1.0, skip_bad_photos=False, overwrite=False,
        script=ROOT / "train_ccam" / "train_ccam.py", constants={}, upstreams={}, photos={},
    )  # fmt: skip


@pytest.fixture
def script(monkeypatch, capfd, data_root, tmp_path):
    """Function: run a script with flags from the directory /; returns (exit code, stdout, stderr)."""

    def run(path, *flags, tiny=True):
        words = [str(ROOT / path), *map(str, flags)]
        if tiny:
            words += [*TINY, "--data-root", str(run.data_root), "--runs-root", str(run.runs_root)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.chdir("/")
        code = 0
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capfd.readouterr()
        return code, out, err

    run.data_root, run.runs_root = data_root, tmp_path / "runs"
    return run


@pytest.fixture(scope="session")
def pets_root():
    """Real photographs, where the environment names them."""
    if not os.environ.get("PETS_ROOT"):
        pytest.skip("PETS_ROOT is not set: no real photographs here")
    return Path(os.environ["PETS_ROOT"])


@pytest.fixture(scope="session")
def one_thread():
    """Sums in one order, whatever the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def chain_root(drawn, tmp_path_factory):
    """One runs root for the stages of `test_stage`, and a copy of the photos without trimaps."""
    root = tmp_path_factory.mktemp("chain")
    shutil.copytree(drawn, root / "data")
    shutil.rmtree(root / "data" / "oxford-iiit-pet" / "annotations" / "trimaps")
    return root


@pytest.fixture
def chain_script(script, chain_root, one_thread):
    script.runs_root, script.data_root = chain_root / "runs", chain_root / "data"
    return script


@pytest.fixture
def chain_run(chain_script, chain_root, drawn):
    """Function: run directory of an experiment in the chain's runs root; it and its upstreams are run if they were not.

    Only the bounds get the photos with trimaps.
    """

    def finished(name):
        for experiment in experiments.with_upstreams([name]):
            folder = chain_root / "runs" / experiment.name / "seed0"
            if not runs.finished(folder):
                chain_script.runs_root = chain_root / "runs"
                chain_script.data_root = drawn if experiment.ground_truth else chain_root / "data"
                run_stage(chain_script, experiment)
        return folder

    return finished
