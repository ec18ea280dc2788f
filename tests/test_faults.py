"""Disks that fill, processes that end, files that change: one line each, nothing lost. Longer: benchmarks/faults.py."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT, TINY
from src import InputError, cli, compute, data, files, locks, records, runs
from src.data import cache


@pytest.fixture
def full_disk(monkeypatch):
    """Flushing says that the disk is full, as the system does when the last block does not fit."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(os, "posix_fallocate", full)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, full_disk):
    path = tmp_path / "file.txt"
    path.write_text("before")
    with (
        pytest.raises(InputError, match="file.txt cannot be written: the disk is full; make room"),
        files.writing(path, "w") as file,
    ):
        file.write("after")
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_no_memory_is_mapped_on_a_full_disk(settings, full_disk):
    with pytest.raises(InputError, match="MB, cannot be written: the disk is full"):
        data.load(settings)
    assert not list((settings.runs_root / "cache").iterdir())
    run = runs.Run.__new__(runs.Run)
    run.path = settings.runs_root
    with pytest.raises(InputError, match="the disk is full"):
        cache.scratch(run, np.float16, (9, 9))


@pytest.mark.parametrize("name", ["a" * 251, "ä" * 120, "-"])
def test_long_names_have_room_for_a_temporary_one(tmp_path, name):
    with files.writing(tmp_path / f"{name}.png") as file:
        file.write(b"x")
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.png"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.writing(tmp_path / "file.txt", "w") as file:
        file.write("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["flip", "cut", "list", "gone"])
def test_a_damaged_cache_is_made_again_and_says_so(settings, capsys, damage):
    before = data.load(settings).batch(range(20))
    pixels, index = (next((settings.runs_root / "cache").glob(f"*.{kind}")) for kind in ("pixels", "json"))
    content = bytearray(pixels.read_bytes())
    content[5000] ^= 1
    if damage == "flip":
        pixels.write_bytes(content)
    elif damage == "cut":
        pixels.write_bytes(content[:-9])
    elif damage == "list":
        index.write_text(index.read_text()[:-9])
    else:
        pixels.unlink()
    assert (data.load(settings).batch(range(20)) == before).all()
    assert "are damaged; decoding them again" in capsys.readouterr().out
    data.load(settings)
    assert not capsys.readouterr().out


def test_changed_photos_are_refused_downstream_and_touched_ones_are_not(script):
    assert script("train_ccam/train_ccam.py", "--epochs", "1")[0] == 0
    path = sorted((script.data_root / "oxford-iiit-pet" / "images").iterdir())[0]
    os.utime(path, (1, 1))
    assert script("train_ccam/evaluate_ccam.py", "--scales", "1.0")[0] == 0
    Image.new("RGB", (40, 30), "red").save(path)
    code, _, err = script("train_ccam/ensemble_masks.py", "--scales", "1.0")
    assert code == 2 and "have changed since" in err and len(err.splitlines()) == 1


def test_a_changed_label_is_refused_downstream(script):
    assert script("train_ccam/train_ccam.py", "--epochs", "1")[0] == 0
    labels = script.data_root / "oxford-iiit-pet" / "annotations" / "trainval.txt"
    name, breed, species, number = labels.read_text().split("\n")[0].split()
    other = f"{name} {breed} {3 - int(species)} {number}"
    labels.write_text(labels.read_text().replace(f"{name} {breed} {species} {number}", other))
    code, _, err = script("train_ccam/evaluate_ccam.py")
    assert code == 2 and "the photos of" in err and "have changed since" in err


@pytest.fixture
def interrupted(script, monkeypatch):
    """Function: run a command that is interrupted after its first epoch."""
    keep = runs.Run.keep

    def stop(run, state):
        keep(run, state)
        raise KeyboardInterrupt

    def once(*command):
        with monkeypatch.context() as patch:
            patch.setattr(runs.Run, "keep", stop)
            assert script(*command)[0] == 130

    return once


def test_a_changed_scene_is_refused_by_the_run_that_saw_it(script, interrupted):
    command = ["train_classifier/train_classifier_cat_dog_bg.py", "--epochs", "2"]
    interrupted(*command)
    scene = next(path for path in sorted((script.data_root / "background").rglob("*")) if path.is_file())
    Image.new("RGB", (40, 30), "red").save(scene)
    code, _, err = script(*command)
    assert code == 2 and "is an unfinished run of other background scenes; --overwrite runs it anew" in err


def test_overwrite_keeps_a_folder_that_was_never_a_run(script):
    mine = script.runs_root / "train_ccam_pretrained" / "seed0" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    code, _, err = script("train_ccam/train_ccam.py", "--epochs", "1", "--overwrite")
    assert code == 2 and "holds mine.txt, but no run; move that" in err and mine.read_text() == "mine"


@pytest.mark.parametrize(("name", "old", "new", "line"), [
    ("resume.pt", "", "", "is of another training; without that file"),
    ("metrics.csv", "epoch", "era", "metrics.csv is damaged"),
    ("metrics.csv", "\n1,", "\nnan,", "metrics.csv is damaged"),
])  # fmt: skip
def test_a_state_of_another_training_is_named(script, interrupted, name, old, new, line):
    command = ["train_ccam/train_ccam.py", "--epochs", "3"]
    interrupted(*command)
    folder = script.runs_root / "train_ccam_pretrained" / "seed0"
    if name == "resume.pt":
        state = torch.load(folder / name, weights_only=True)
        torch.save(state | {"epoch": 99}, folder / name)
    else:
        (folder / name).write_text((folder / name).read_text().replace(old, new, 1))
    code, _, err = script(*command)
    assert code == 2 and line in err and len(err.splitlines()) == 1, err


def test_a_run_directory_that_vanishes_is_named(script, monkeypatch):
    command = ["train_ccam/train_ccam.py", "--epochs", "3"]
    keep = runs.Run.keep

    def remove(run, state):
        keep(run, state)
        shutil.rmtree(run.path)

    monkeypatch.setattr(runs.Run, "keep", remove)
    code, _, err = script(*command)
    assert code == 2 and "seed0 has vanished while it was written; the same command makes it anew" in err
    monkeypatch.setattr(runs.Run, "keep", keep)
    assert script(*command)[0] == 0


def test_a_clock_that_goes_back_does_not_matter(script, monkeypatch):
    clock = itertools.count(2e9, -60)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert script("train_ccam/train_ccam.py", "--epochs", "1")[0] == 0
    assert 0 < records.summary_of(script.runs_root / "train_ccam_pretrained" / "seed0")["seconds"] < 60


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_log_on_a_full_disk_is_named(script):
    folder = script.runs_root / "train_ccam_pretrained" / "seed0"
    folder.mkdir(parents=True)
    (folder / "log.txt").symlink_to("/dev/full")
    command = ["train_ccam/train_ccam.py", "--epochs", "1"]
    code, _, err = script(*command)
    assert code == 2 and "log.txt cannot be written: the disk is full; make room" in err and len(err.splitlines()) == 1
    (folder / "log.txt").unlink()
    assert script(*command)[0] == 0


def test_a_run_that_goes_on_elsewhere_says_by_what_it_was_made(script, interrupted, monkeypatch):
    command = ["train_ccam/train_ccam.py", "--epochs", "3"]
    interrupted(*command)
    monkeypatch.setattr(compute, "device_name", lambda: "another device")
    folder = script.runs_root / "train_ccam_pretrained" / "seed0"
    before = records.config_of(folder)
    assert script(*command)[0] == 0
    config, summary = records.config_of(folder), records.summary_of(folder)
    assert [one["device"] for one in config["earlier"]] == [before["device"]]
    assert summary["device"] == f"{before['device']}, another device" and summary["commit"] == before["commit"]


def test_a_training_on_ground_truth_does_not_go_on_with_another(script, interrupted, data_root):
    command = ["train_unet/train_on_gt.py", "--epochs", "3"]
    interrupted(*command)
    trimap = next((data_root / "oxford-iiit-pet" / "annotations" / "trimaps").glob("*.png"))
    values = np.array(Image.open(trimap))
    Image.fromarray(np.where(values == 1, 2, 1).astype(np.uint8)).save(trimap)
    code, _, err = script(*command)
    assert code == 2 and "is an unfinished run of other ground truths" in err


def test_a_damaged_resume_state_is_named(script, interrupted):
    command = ["train_ccam/train_ccam.py", "--epochs", "3"]
    interrupted(*command)
    state = script.runs_root / "train_ccam_pretrained" / "seed0" / "resume.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 255
    state.write_bytes(content)
    code, _, err = script(*command)
    assert code == 2 and "resume.pt" in err and "starts from the first epoch" in err and len(err.splitlines()) == 1
    state.unlink()
    assert script(*command)[0] == 0


HOLD = """
import sys, time
sys.path.insert(0, {root!r})
from src import files, locks
locks.Lock({path!r}, "x")
print(1, flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds a lock, and the lock's path."""
    path = tmp_path / "lock"
    code = HOLD.format(root=str(ROOT), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    yield process, path
    process.kill()
    process.wait()


def test_a_lock_names_who_has_it_and_a_dead_ones_does_not_hold(holder):
    process, path = holder
    with pytest.raises(InputError, match=rf"the run is in use by process {process.pid} on \S+; wait for it, or end it"):
        locks.Lock(path, "the run", patience=0.2)
    process.kill()
    process.wait()
    lock = locks.Lock(path, "the run", patience=0.2)
    assert str(os.getpid()) in path.read_text()
    lock.release()
    assert not path.exists()


def test_what_a_kill_has_left_is_swept_unless_the_run_goes_on(holder):
    process, path = holder
    run = path.parent
    (run / "summary.json").write_text("{}")
    (run / "resume.pt").write_text("of a training")
    runs.sweep(run)
    assert (run / "resume.pt").exists() and path.exists(), "somebody has begun it anew"
    process.kill()
    process.wait()
    runs.sweep(run)
    assert not (run / "resume.pt").exists() and not path.exists()
    (run / "summary.json").unlink()
    (run / "resume.pt").write_text("of a training")
    runs.sweep(run)
    assert (run / "resume.pt").exists(), "an unfinished run wants it"


def test_ctrl_c_while_a_script_imports_is_one_line():
    words = [sys.executable, "-c", "import src; raise KeyboardInterrupt"]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert found.stderr == "interrupted\n" and found.returncode == -signal.SIGINT  # 130 in a shell


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_ended_training_says_so_and_leaves_nothing(script, kind, code):
    words = [*TINY, "--data-root", script.data_root, "--runs-root", script.runs_root, "--epochs", "100000"]
    command = [sys.executable, str(ROOT / "train_ccam" / "train_ccam.py"), *map(str, words)]
    listen = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731 - shells tell jobs not to
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    folder = script.runs_root / "train_ccam_pretrained" / "seed0"
    while not (folder / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(kind)
    _, err = process.communicate(timeout=30)
    lines = [line for line in err.splitlines() if "Warn" not in line]
    assert process.returncode == code and lines == [lines[0]] and "the same command continues this run" in lines[0]
    assert not list(script.runs_root.rglob("*.part")) and not list(script.runs_root.rglob("*lock"))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "not enough memory; lower --batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "lower --batch-size"),
        (OSError(errno.ENOSPC, "No space left", "/some/file"), "/some/file: the disk is full"),
        (PermissionError(errno.EACCES, "denied", "/some/file"), "/some/file: no permission"),
        (FileNotFoundError(errno.ENOENT, "gone", "/some/file"), "/some/file: its folder is gone"),
    ],
)
def test_what_the_system_says_is_one_line(error, line, capfd):
    script = {"__file__": str(ROOT / "train_ccam" / "train_ccam.py"), "__doc__": "", "BATCH_SIZE": 8}

    def main(_):
        raise error

    with pytest.raises(SystemExit) as stop:
        cli.run(main, script, [])
    err = capfd.readouterr().err
    assert stop.value.code == 2 and line in err and len(err.splitlines()) == 1


def test_a_bug_is_no_bad_input():
    def main(_):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        cli.run(main, {"__file__": str(ROOT / "train_ccam" / "train_ccam.py"), "__doc__": ""}, [])
