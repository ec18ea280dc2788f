"""What one mask can reach in both readings of the border: of the segmenter and of its bound. It looks at the truth.

Run:    python benchmarks/readings.py --data-root PHOTOS --image-size 128
Reads:  runs/train_on_ensemble/seed0/ and runs/train_on_ensemble_gt/seed0/; the trimaps of test
Writes: nothing; a segmenter's probability gives many masks, by level, growth and dense CRF. Prints the best IoU with
        the border ignored among those that have at least so much with border = pet; nan if none has
"""

import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np

from src import InputError, cli, compute, count_of, data, metrics, prediction, runs
from src.data import decoding
from src.postprocessing import finishing, masks
from src.report import tables

EVERY = 1  # score every so many test photos
BREEDS = ""  # whose photos count, names with commas; empty: all
AT_LEAST = (78.0, 80.0, 82.0, 84.0, 85.0, 86.0, 87.0)  # IoU in %, border = pet
LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)  # over which a pixel is subject
GROWTH = (-0.008, 0.0, 0.008, 0.016)  # of the longer side; below 0 masks shrink
RUNS = {"labels": "train_unet/train_on_ensemble.py", "bound": "train_unet/train_on_ensemble_gt.py"}


def grown(prob, share):
    """A probability (H, W) whose masks grow by `share` of the longer side, or shrink if it is below 0."""
    return finishing.dilate(prob, share) if share >= 0 else -finishing.dilate(-prob, -share)


def counts_of(segmenter, image, trimap):
    """metrics.confusion of every mask that can be made of a photo (H, W, 3), int64 (masks, 3, 2)."""
    recipes = {"plain": finishing.Recipe(), "refined": finishing.Recipe(segmenter.recipe.refine, keep=0.5)}
    found = finishing.refined([image], segmenter.probabilities([image]), recipes)
    plain, refined = found["plain"][0], found["refined"][0]
    probs = [grown(prob, share) for prob, share in product((plain, refined, (plain + refined) / 2), GROWTH)]
    return np.stack([metrics.confusion(prob > level, trimap) for prob, level in product(probs, LEVELS)])


def main(settings):
    photos = data.load(settings, pixels=False)
    index = photos.with_truth(photos.test)
    if BREEDS:
        index = index[np.isin([photos.breed_names[k] for k in photos.breeds[index]], BREEDS.split(","))]
    if not len(index):
        raise InputError(f"no test photo with a trimap{f' of {BREEDS}' if BREEDS else ''} in {photos.root}")
    index, best = index[::EVERY], {}
    for name, script in RUNS.items():
        segmenter, counts = prediction.load(runs.upstream(settings, script), amp=settings.amp), []
        for i in compute.progress(index, name, unit="photo"):
            counts.append(counts_of(segmenter, decoding.decode(photos.paths[i]), masks.read_trimap(photos, i)))
        iou = {
            border: np.array([100 * metrics.per_photo_iou(mask, border).mean() for mask in np.stack(counts, 1)])
            for border in ("pet", "ignored")
        }
        best[name] = [max(iou["ignored"][iou["pet"] >= least], default=np.nan) for least in AT_LEAST]
    print(f"{count_of(index, 'test photo')}, IoU in % with the border ignored")
    rows = [[f"{least:.0f}", *(f"{best[name][k]:.1f}" for name in RUNS)] for k, least in enumerate(AT_LEAST)]
    print(tables.markdown(["border = pet at least", *RUNS], rows))


if __name__ == "__main__":
    cli.run(main, globals())
