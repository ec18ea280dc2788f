"""Two processes under torchrun (gloo, CPU, fp32) do what one does."""

import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT, TINY
from src import InputError, distributed, training

reason = "two processes want two GPUs, or none: CUDA_VISIBLE_DEVICES= hides them"
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason=reason)


@pytest.fixture
def torchrun(script, tmp_path):
    """Function: run a script in two processes with run directories of their own; returns the finished process."""

    def run(path, *flags):
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", ROOT / path]
        words += [*flags, *TINY, "--data-root", script.data_root, "--runs-root", tmp_path / "two"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run([str(w) for w in words], capture_output=True, text=True, cwd="/", env=env, timeout=300)

    run.runs_root = tmp_path / "two"
    return run


def as_torchrun(argv, environment, log):
    """What torchrun starts, in a process that has torch already."""
    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = argv
    torch.set_num_threads(1)
    runpy.run_path(argv[0], run_name="__main__")


@pytest.fixture
def pair(script, tmp_path):
    """Function: the same without torchrun, which imports torch three times; returns what the processes print."""

    def run(path, *flags, code=0):
        words = [ROOT / path, *flags, *TINY, "--data-root", script.data_root, "--runs-root", tmp_path / "two"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["src.training"])
        logs, processes = [tmp_path / f"log{k}" for k in range(2)], []
        for k, log in enumerate(logs):
            environment = {**shared, "RANK": str(k), "LOCAL_RANK": str(k)}
            processes.append(context.Process(target=as_torchrun, args=(list(map(str, words)), environment, log)))
            processes[-1].start()
        for process in processes:
            process.join(300)
        printed = "".join(log.read_text() for log in logs)
        assert [process.exitcode for process in processes] == [code, code], printed
        return printed

    run.runs_root = tmp_path / "two"
    return run


def both(script, pair, path, *flags):
    code, _, err = script(path, *flags)
    assert code == 0, err
    return pair(path, *flags)


def checkpoints(script, pair, stage):
    paths = [root / stage / "seed0" / "checkpoint.pt" for root in (script.runs_root, pair.runs_root)]
    return [torch.load(path, weights_only=True)["state"] for path in paths]


def test_ccam_of_two_processes_is_that_of_one(script, pair):
    """20 steps of uneven batches (2 + 1 photos): the loss compares all photos of a batch, and BatchNorm sees them."""
    out = both(
        script, pair, "train_class_specific_ccam/train_ccam_on_specific_37_class.py", "--epochs", "5", "--no-amp"
    )
    assert out.count("epoch 5/5") == 1  # one process logs
    assert not list(pair.runs_root.rglob("scratch*"))  # the file of features that both used has no name
    one, two = checkpoints(script, pair, "train_ccam_on_specific_37_class")
    start = json.loads((pair.runs_root / "train_ccam_on_specific_37_class/seed0/config.json").read_text())
    assert start["world_size"] == 2
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-4, msg=name)
    flags = ("--scales", "1.0", "--no-amp")
    both(script, pair, "train_class_specific_ccam/generate_masks.py", *flags)
    folders = [root / "generate_masks_specific_37_class/seed0" for root in (script.runs_root, pair.runs_root)]
    scores = [json.loads((folder / "summary.json").read_text())["metrics"] for folder in folders]
    assert scores[1]["test"]["photos"] == 8 and scores[1]["trainval_crf"]["photos"] == 12
    assert scores[1]["test"]["pet_iou"] == pytest.approx(scores[0]["test"]["pet_iou"], abs=0.01)
    names = sorted(path.name for path in (folders[0] / "masks_crf").iterdir())
    assert names == sorted(path.name for path in (folders[1] / "masks_crf").iterdir())
    for name in names:
        masks = [np.array(Image.open(folder / "masks_crf" / name)) for folder in folders]
        assert (masks[0] == masks[1]).mean() > 0.99


def test_classifier_of_two_processes_is_that_of_one(script, pair):
    """Photos are augmented alike, and the classification loss is that of the whole batch."""
    flags = ("--epochs", "4", "--batch-size", "3", "--frozen-stages", "5", "--no-amp")
    both(script, pair, "train_classifier/train_classifier_cat_dog.py", *flags)
    one, two = checkpoints(script, pair, "train_classifier_cat_dog")
    torch.testing.assert_close(two["fc.weight"], one["fc.weight"], rtol=1e-4, atol=1e-5)


def test_segmenter_and_ccam_with_ecs_train_in_two_processes(pair, torchrun):
    """Their BatchNorm sees each process's own photos, so they are not the same as in one; they end, and are scored."""
    assert "done in" in pair("train_ccam/train_ccam_ecs.py", "--epochs", "1")
    done = torchrun("train_unet/train_on_gt.py", "--epochs", "1", "--size", "32")
    assert done.returncode == 0, done.stderr
    rows = (torchrun.runs_root / "train_on_gt" / "seed0" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2 and float(rows[1].split(",")[1]) > 0
    again = pair("train_unet/train_on_gt.py", "--size", "32", code=2)
    assert again.count("is finished; --overwrite runs it anew") == 1 and "Traceback" not in again


def test_synchronised_batchnorm_without_gpus_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(InputError, match="--sync-batchnorm needs GPUs"):
        distributed.parallel(torch.nn.Linear(1, 1), sync_batchnorm=True)


def test_parts_of_a_mean_average_to_the_mean(monkeypatch):
    """Shards of 3 and 2 photos, as DistributedDataParallel averages them."""
    values = torch.tensor([1.0, 5.0, 2.0, 7.0, 4.0])
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    parts = [distributed.batch_mean(part.mean(), len(part), 5) for part in (values[::2], values[1::2])]
    assert float(sum(parts) / 2) == pytest.approx(float(values.mean()))
    with pytest.raises(InputError, match="a batch of 1 photo cannot be shared by 2 processes"):
        distributed.check_batch(values[:1])


def test_projection_losses_of_parts_average_to_that_of_the_batch(monkeypatch):
    inside = torch.zeros(5, 16, 16, dtype=torch.bool)
    inside[:, 2:9, 3:12] = True
    probability = torch.rand(5, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = training.projection_loss(probability, inside)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda count: torch.full_like(count, 5))
    parts = [training.projection_loss(probability[k::2], inside[k::2]) for k in range(2)]
    assert float(sum(parts) / 2) == pytest.approx(float(whole)) and whole > 0


def test_when_one_process_is_killed_all_end(script, tmp_path):
    """In seconds, with one line of ours and no lock left; the same command goes on."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words += [ROOT / "train_ccam" / "train_ccam.py", "--epochs", "100000", *TINY]
    words += ["--data-root", script.data_root, "--runs-root", tmp_path / "two"]
    process = subprocess.Popen(
        [str(w) for w in words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    folder = tmp_path / "two" / "train_ccam_pretrained" / "seed0"
    while not (folder / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.1)
    workers = [int(n) for n in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    ranks = {n: dict(line.split("=", 1) for line in Path(f"/proc/{n}/environ").read_text().split("\0") if "=" in line)
             for n in workers}  # fmt: skip
    victim = next(n for n, env in ranks.items() if env.get("RANK") == "1")
    start = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0 and time.monotonic() - start < 60
    ours = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(ours) <= 1 and all("another process of this run has ended" in line for line in ours), err
    assert not any(Path(f"/proc/{n}").exists() for n in workers)
    assert not list((tmp_path / "two").rglob("*.part"))
