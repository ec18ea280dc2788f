"""What made a run, beside its settings: commit, versions, device."""

import platform
import subprocess

import numpy as np
import torch
import torchvision

from src import cli, compute, distributed, files


def of_this_run():
    """For config.json: dict of the code's commit, the versions of what it stands on, the processes and their device."""
    return {
        "commit": commit(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "torchvision": torchvision.__version__,
        },
        "world_size": distributed.world_size(),
        "device": compute.device_name(),
    }


def commit():
    """The commit of the code, with +changes where the tree differs (results apart); empty outside a git checkout."""

    def git(*words):
        words = ["git", "-C", str(cli.ROOT), *words]
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        if files.resolved(git("rev-parse", "--show-toplevel")) != cli.ROOT:
            return ""
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benchmarks/results")
        return git("describe", "--always") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return ""
