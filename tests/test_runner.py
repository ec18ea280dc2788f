"""src/runner.py: stages in processes of their own, after what they read; a failure ends all."""

import time

import pytest

from src import runner

NOTE = "import sys, time, pathlib; note = pathlib.Path(sys.argv[1])\n"


@pytest.fixture
def stage(tmp_path):
    """Function: (name, code, reads) to a stage whose script has `note`, a file of its own to write."""

    def make(name, code, reads=()):
        path = tmp_path / f"{name}.py"
        path.write_text(NOTE + code)
        return {name: (reads, [str(path), str(tmp_path / f"{name}.txt")])}

    return make


def test_stages_run_beside_each_other_and_after_what_they_read(stage, tmp_path):
    meet = "other = note.with_name('{}.txt'); note.write_text('x')\nfor _ in range(600):\n"
    meet += "    if other.exists(): break\n    time.sleep(0.05)\nelse: sys.exit(1)"
    after = "sys.exit(0 if note.with_name('a.txt').exists() and note.with_name('b.txt').exists() else 1)"
    stages = stage("c", after, ["a", "b", "before"]) | stage("a", meet.format("b")) | stage("b", meet.format("a"))
    stages |= stage("before", "sys.exit(1)")
    ended = list(runner.run(stages, {"before"}, jobs=2))
    assert ended[-1] == "c" and sorted(ended) == ["a", "b", "c"]


def test_what_another_program_has_finished_meanwhile_is_done(stage, tmp_path):
    """Before it starts here, and where it starts at the same time and is refused."""
    late = "time.sleep(1); note.write_text('x'); sys.exit(2)"
    stages = stage("a", "sys.exit(2)") | stage("b", late, ["a"]) | stage("c", "note.write_text('x')", ["b"])
    finished = lambda name: name == "a" or (name == "b" and (tmp_path / "b.txt").exists())  # noqa: E731
    assert list(runner.run(stages, set(), finished=finished)) == ["a", "b", "c"]
    assert not (tmp_path / "a.txt").exists() and (tmp_path / "c.txt").exists()


def test_threads_are_shared_out(stage, tmp_path, monkeypatch):
    monkeypatch.setattr("src.compute.cores", lambda: 4)
    ended = runner.run(stage("a", "import torch; note.write_text(str(torch.get_num_threads()))"), set(), jobs=2)
    assert list(ended) == ["a"] and (tmp_path / "a.txt").read_text() == "2"


def test_a_failure_ends_the_stages_beside_it(stage, tmp_path, capsys):
    stages = stage("slow", "time.sleep(3); note.write_text('late')") | stage("bad", "time.sleep(1); sys.exit(7)")
    with pytest.raises(SystemExit) as stop:
        list(runner.run(stages, set(), jobs=2))
    err = capsys.readouterr().err
    assert stop.value.code == 7 and "stopped in" in err and "the same command goes on from there" in err
    time.sleep(3)
    assert not (tmp_path / "slow.txt").exists()


def test_a_stage_that_says_what_to_do_is_not_spoken_for(stage, capsys):
    with pytest.raises(SystemExit) as stop:
        list(runner.run(stage("bad", "sys.exit(2)"), set()))
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "stopped in" in err and "goes on" not in err


def test_a_long_folder_for_temporary_files(stage, tmp_path, monkeypatch):
    """A fork server's socket would have too long a path there."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert list(runner.run(stage("a", "note.write_text('x')"), set())) == ["a"] and (tmp_path / "a.txt").exists()


def test_what_nobody_makes_is_named(stage):
    with pytest.raises(ValueError, match="nobody makes what these stages read: a"):
        list(runner.run(stage("a", "", ["missing"]), set()))
