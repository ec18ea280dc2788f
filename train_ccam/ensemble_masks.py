"""Average the maps of several methods, refine the mean by the dense CRF, and mark what remains uncertain.

Run:    python train_ccam/ensemble_masks.py
Reads:  the finished runs of MEMBERS
Writes: runs/ensemble_masks/seed0/ (masks/ and masks_crf/, uncertain pixels 255)
Measured on the 597-photo subset, MobileNetV2, 2 cores, seed 0: 2.7 min, test IoU 76.7 % with dCRF.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, ensemble, evaluation, masks, runs
from src.crf import CRF

NAME = ""  # of an ablation, part of the run directory's name
MEMBERS = (
    "ccam pretrained",
    "ccam cat_dog_bg",
    "ccam 37_bg",
    "specific cat_dog",
    "specific specific_37_class",
)  # methods and what each started from
SCALES = (0.75, 1.0, 1.5)  # of the photo, each with its mirror image
THRESHOLD = 0.0  # of every map in [0, 1]; 0: each map's own, by Otsu's method
DELTA = 0.5  # ECS erases where the CAM is over this
THETA = 0.15  # ECS takes over what the second look finds over this
IGNORE_BAND = 0.2  # pixels whose probability is this near to 0.5 are saved as 255, uncertain
BILATERAL_SXY = 80.0  # pixels over which neighbours still pull at each other
BILATERAL_SRGB = 10.0  # grey levels of colour distance over which they do
BILATERAL_COMPAT = 5.0  # weight of that pull


def main(settings):
    photos = data.load(settings)
    members = [ensemble.member(name, settings, photos, SCALES, DELTA, THETA) for name in MEMBERS]
    run = runs.Run(settings, **runs.named(NAME))
    crf = CRF(bilateral_sxy=BILATERAL_SXY, bilateral_srgb=BILATERAL_SRGB, bilateral_compat=BILATERAL_COMPAT)
    outputs = {"masks": masks.Recipe("pet"), "masks_crf": masks.Recipe("pet", refine=crf)}
    metrics = evaluation.make_masks(run, photos, outputs, ensemble.average(members, THRESHOLD), IGNORE_BAND)
    run.finish(metrics, "train_unet/train_on_ensemble.py")


if __name__ == "__main__":
    cli.run(main, globals())
