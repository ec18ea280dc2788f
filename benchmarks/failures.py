"""The worst test photos of a segmenter's masks, by name, with a picture and what went wrong. It looks at the truth.

Run:    python benchmarks/failures.py --data-root PHOTOS --image-size 128
Reads:  runs/ensemble_masks/seed0/, runs/train_on_ensemble/seed0/ and runs/train_on_ensemble_gt/seed0/
Writes: <runs-root>/failures.png, a row a photo; prints their IoU in % with the border ignored, from the photo's first
        masks to the bound, and a cause; then how often each cause is and what it costs
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np

from src import InputError, cli, data, metrics, scoring
from src.report import pictures, tables

MOST = 20  # photos to show
STEPS = {
    "first masks": "ensemble_masks/seed{}/masks_crf",
    "segmenter": "train_on_ensemble/seed{}/masks",
    "+ dCRF": "train_on_ensemble/seed{}/masks_crf",
    "final": "train_on_ensemble/seed{}/masks_final",
    "bound": "train_on_ensemble_gt/seed{}/masks",
}
FAILED = 0.5  # IoU under which a mask has failed
CAUSES = ("no truth", "the dCRF", "the growth", "the first masks", "the segmenter", "hard for the bound, too")


def cause_of(iou, pet):
    """Which step went wrong, one of CAUSES.

    Args:
        iou: dict step -> IoU of the photo. pet: pixels of the pet in its trimap.
    """
    if pet == 0:
        return "no truth"
    if iou["bound"] < FAILED:
        return "hard for the bound, too"
    if iou["segmenter"] >= FAILED:
        return "the dCRF" if iou["+ dCRF"] < FAILED else "the growth"
    return "the first masks" if iou["first masks"] < FAILED else "the segmenter"


def main(settings):
    photos = data.load(settings, pixels=False)
    folders = {step: Path(settings.runs_root) / folder.format(settings.seed) for step, folder in STEPS.items()}
    index = photos.with_truth(photos.test)
    if not scoring.covered(photos, index, folders.values()):
        raise InputError(f"no masks of the test photos in {settings.runs_root}; first run reproduce.py --ensemble-only")
    counts = {step: scoring.confusions(photos, index, folder) for step, folder in folders.items()}
    iou = {step: metrics.per_photo_iou(found, "ignored") for step, found in counts.items()}
    pet = counts["final"][:, metrics.PET - 1].sum(axis=1)
    causes = np.array([cause_of({step: iou[step][k] for step in iou}, pet[k]) for k in range(len(index))])
    order = iou["final"].argsort(kind="stable")[:MOST]
    rows = [[photos.names[index[k]], *(f"{100 * iou[step][k]:.0f}" for step in iou), causes[k]] for k in order]
    print(tables.markdown(["photo", *iou, "cause"], rows))
    failed = iou["final"] < FAILED
    rows = []
    for cause in CAUSES:
        own = failed & (causes == cause)
        rows.append([cause, own.sum(), f"{100 * (iou['bound'] - iou['final'])[own].sum() / len(index):.2f}"])
    print(tables.markdown([f"cause of an IoU under {100 * FAILED:.0f} %", "photos", "points below the bound"], rows))
    path = Path(settings.runs_root) / "failures.png"
    pictures.sheet(path, photos, index[order], folders.items(), MOST)
    print(f"pictures: {path}")


if __name__ == "__main__":
    cli.run(main, globals())
