"""What a run directory's JSON files say, checked: they may be damaged, or a stranger's."""

import math
from pathlib import Path

from src import InputError, files
from src.agreement import AGAIN

SCORES = "pet_iou", "pet_iou_border_ignored", "pet_dice"  # of a split, in summary.json
OF_UPSTREAMS = "digests", "upstreams"  # in config.json


def summary_of(path):
    """The summary.json of the finished run in this directory; errors of files.read_json."""
    path = Path(path) / "summary.json"
    found = files.read_json(path, ("stage", "seconds", "metrics"), AGAIN)
    try:
        scores = [split.get(name, 0.0) for split in found["metrics"].values() for name in SCORES]
        if not all(type(n) in (int, float) and math.isfinite(n) for n in [found["seconds"], *scores]):
            raise ValueError
    except (AttributeError, OverflowError, ValueError):
        raise InputError(f"{path} is damaged{AGAIN}") from None
    return found


def is_scored_against(summary, photos):
    """Whether the scores of a summary.json, if it has any, are of the ground truth that there is today."""
    return "truths" not in summary or summary["truths"] == photos.digest_of_truths  # opened for what is scored alone


def config_of(path):
    """The same of config.json."""
    path = Path(path) / "config.json"
    config = files.read_json(path, ("settings", "constants", "photos"), AGAIN)
    if not all(isinstance(config.get(key, {}), dict) for key in ("settings", "constants", "photos", *OF_UPSTREAMS)):
        raise InputError(f"{path} is not of this version{AGAIN}")
    if not all(isinstance(value, str) for key in OF_UPSTREAMS for value in config.get(key, {}).values()):
        raise InputError(f"{path} is not of this version{AGAIN}")
    return config
