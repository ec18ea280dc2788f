"""Kinds that training never saw: breeds left out, dogs for a chain of cats and the other way round.

Run:    python benchmarks/unseen.py --data-root PHOTOS --backbone mobilenet_v2 --weights FILE --image-size 128
            --passes 0.25 --jobs 2 --seen benchmarks/results/official_128_fp32
Reads:  the data root, and what a chain that saw all kinds scored
Writes: a list of photos and a runs root of its own for each case, <runs-root>/unseen_<case>/; prints test IoU in %,
        border = pet / ignored, of the unseen kinds: learnt without them, and with them
"""

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np

import experiments
import reproduce
from src import InputError, cli, data, files
from src.report import results, tables

EVERY = 8  # of the breeds in the order of their names one is left out: five of 37
JOBS = 1  # stages at once
SEEN = ""  # results folder of the chain that saw all kinds; empty: its runs are in the runs root
SEGMENTERS = {
    "final masks": ("train_on_ensemble", "test_final"),
    "bound": ("train_on_ensemble_gt", "test"),
    "bound + dCRF": ("train_on_ensemble_gt", "test_crf"),
}


def cases(photos):
    """dict case -> which photos, bool (P,), are of a kind that training does not see."""
    left_out = np.arange(EVERY // 2, len(photos.breed_names), EVERY)
    found = {"breeds": np.isin(photos.breeds, left_out)}
    for k, name in enumerate(photos.species_names):
        found[f"{name}s"] = photos.species == k
    return found


def run(settings, photos, case, unseen):
    """Train the segmenters without a kind and score them on that kind; the runs root."""
    root = Path(settings.runs_root) / f"unseen_{case}"
    lines = [f"{photos.names[i]} trainval\n" for i in photos.trainval if not unseen[i]]
    lines += [f"{photos.names[i]} test\n" for i in photos.test if unseen[i]]
    with files.writing(root / "photos.txt", "w", encoding="utf-8") as file:
        file.write("".join(lines))
    own = copy.copy(settings)
    own.runs_root, own.photos = root, {}
    own.data_root = data.select(settings.data_root, root / "photos.txt", reproduce.MAX_SIDE, root / "photos")
    known = data.load(own)
    reproduce.JOBS = JOBS
    reproduce.run_all(own, known, experiments.with_upstreams([name for name, _ in SEGMENTERS.values()]))
    return root


def score(summaries, name, key, breeds):
    """Mean test IoU of these breeds in both readings, "a / b" in %."""
    own = [values for breed, values in summaries[name]["metrics"][key]["by_class"].items() if breed in breeds]
    count = sum(values[0] for values in own)
    return " / ".join(f"{100 * sum(values[0] * values[k] for values in own) / count:.1f}" for k in (1, 2))


def main(settings):
    photos = data.load(settings, pixels=False)
    seed, rows = f"seed{settings.seed}", []
    seen = (results.of_folder(SEEN) if SEEN else results.of_runs(settings.runs_root)).get(seed, {})
    if not all(name in seen for name, _ in SEGMENTERS.values()):
        raise InputError(f"{SEEN or settings.runs_root} has no scores of {seed} of a chain that saw all kinds")
    for case, unseen in cases(photos).items():
        breeds = {photos.breed_names[k] for k in np.unique(photos.breeds[unseen])}
        own = results.of_runs(run(settings, photos, case, unseen))[seed]
        for text, (name, key) in SEGMENTERS.items():
            scores = [score(summaries, name, key, breeds) for summaries in (own, seen)]
            rows.append([f"{case}, {unseen[photos.test].sum()} photos", text, *scores])
    print(tables.markdown(["unseen", "test IoU, %", "learnt without them", "with them"], rows))


if __name__ == "__main__":
    cli.run(main, globals())
