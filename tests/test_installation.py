"""Where a checkout may stand, and who may run it: a path with spaces, read-only, without HOME, as another user."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import ROOT, TINY

NOBODY = 65534


@pytest.fixture(scope="module")
def checkout():
    """A copy of the project that nobody may write to, in a path with spaces that everyone may enter."""
    with tempfile.TemporaryDirectory(prefix="a path ") as name:
        folder = Path(name) / "with spaces"
        left_out = shutil.ignore_patterns(".*", "__pycache__", "runs", "sample", "results")
        shutil.copytree(ROOT, folder, ignore=left_out)
        for path in (Path(name), folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield folder
        for path in (Path(name), folder, *folder.rglob("*")):
            path.chmod(0o755)


def files_of(folder):
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("user", [None, NOBODY])
def test_it_runs_there(checkout, drawn, user):
    if user is not None:
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("only root can run it as another user")
        try:
            subprocess.run([sys.executable, "-c", "import torch"], user=user, group=user, check=True)
        except (PermissionError, subprocess.CalledProcessError):
            pytest.skip(f"another user may not run {sys.executable}")
    before = files_of(checkout)
    with tempfile.TemporaryDirectory() as elsewhere:
        shutil.copytree(drawn, f"{elsewhere}/data")
        for path in (Path(elsewhere), *Path(elsewhere).rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o444)
        words = [*TINY, "--data-root", f"{elsewhere}/data", "--runs-root", f"{elsewhere}/my runs", "--epochs", "1"]
        environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
        script = checkout / "train_ccam" / "train_ccam.py"
        done = subprocess.run(
            [sys.executable, script, *words], user=user, group=user, env=environment, cwd="/", capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        assert Path(elsewhere, "my runs", "train_ccam_pretrained", "seed0", "summary.json").is_file()
    assert files_of(checkout) == before
