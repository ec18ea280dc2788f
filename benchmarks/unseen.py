"""Kinds that training never saw: breeds left out, dogs for a chain of cats and the other way round.

Run:    python benchmarks/unseen.py --data-root PHOTOS --backbone mobilenet_v2 --weights FILE --image-size 128
Reads:  the data root, and the scores of a chain that saw all kinds, runs/train_on_ensemble/seed0/ and the bound's
Writes: a list of photos and a runs root of its own for each case, <runs-root>/unseen_<case>/; prints test IoU in %,
        border = pet / ignored, of the unseen kinds: learnt without them, and with them
"""

import copy
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np

from src import cli, data, files, runs
from src.report import tables

EVERY = 8  # of the breeds in the order of their names one is left out: five of 37
JOBS = 1  # stages at once
SEGMENTERS = {"final masks": ("train_on_ensemble", "test_final"), "bound": ("train_on_ensemble_gt", "test")}


def cases(photos):
    """dict case -> which photos, bool (P,), are of a kind that training does not see."""
    left_out = np.arange(EVERY // 2, len(photos.breed_names), EVERY)
    found = {"breeds": np.isin(photos.breeds, left_out)}
    for k, name in enumerate(photos.species_names):
        found[f"{name}s"] = photos.species == k
    return found


def run(settings, photos, case, unseen):
    """Train the chain without a kind and score it on that kind; the runs root."""
    root = Path(settings.runs_root) / f"unseen_{case}"
    lines = [f"{photos.names[i]} trainval\n" for i in photos.trainval if not unseen[i]]
    lines += [f"{photos.names[i]} test\n" for i in photos.test if unseen[i]]
    with files.writing(root / "photos.txt", "w", encoding="utf-8") as file:
        file.write("".join(lines))
    own = copy.copy(settings)
    own.runs_root = root
    words = [sys.executable, str(cli.ROOT / "reproduce.py"), *runs.arguments(own), "--ensemble-only",
             "--photos", str(root / "photos.txt"), "--jobs", str(JOBS)]  # fmt: skip
    subprocess.run(words, check=True)
    return root


def score(settings, root, name, key, breeds):
    """Mean test IoU of these breeds in both readings, "a / b" in %."""
    summary = runs.summary_of(Path(root) / name / f"seed{settings.seed}")
    own = [values for breed, values in summary["metrics"][key]["by_class"].items() if breed in breeds]
    count = sum(values[0] for values in own)
    return " / ".join(f"{100 * sum(values[0] * values[k] for values in own) / count:.1f}" for k in (1, 2))


def main(settings):
    photos = data.load(settings, pixels=False)
    rows = []
    for case, unseen in cases(photos).items():
        breeds = {photos.breed_names[k] for k in np.unique(photos.breeds[unseen])}
        root = run(settings, photos, case, unseen)
        for text, (name, key) in SEGMENTERS.items():
            scores = [score(settings, where, name, key, breeds) for where in (root, settings.runs_root)]
            rows.append([f"{case}, {unseen[photos.test].sum()} photos", text, *scores])
    print(tables.markdown(["unseen", "test IoU, %", "learnt without them", "with them"], rows))


if __name__ == "__main__":
    cli.run(main, globals())
