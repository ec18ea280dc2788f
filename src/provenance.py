"""What made a run, beside its settings: commit, versions, device."""

import platform
import subprocess

import numpy as np
import torch
import torchvision

from src import cli, compute, distributed, files

MADE_BY = ("commit", "versions", "world_size", "device")


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


def earlier(before, config):
    """For config.json of a run that goes on: what else it was made by until now, oldest first; empty if nothing else.

    Args:
        before: the run's config.json until now. config: that of this call.
    """
    one = {key: before.get(key) for key in MADE_BY}
    found = before.get("earlier", []) + ([one] if any(one[key] != config[key] for key in MADE_BY) else [])
    return {"earlier": found} if found else {}


def made_by(config):
    """For summary.json: commit and device of a config.json; of a run that went on elsewhere all of them."""
    calls = [*config.get("earlier", []), config]
    return {key: ", ".join(dict.fromkeys(one[key] for one in calls if one[key])) for key in ("commit", "device")}


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
