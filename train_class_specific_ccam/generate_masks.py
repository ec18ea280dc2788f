"""Make and score the masks of class-specific CCAMs, with and without the dense CRF; the U-Net learns from them.

Run:    python train_class_specific_ccam/generate_masks.py --model specific_37_class
Reads:  runs/train_ccam_on_<model>/seed0/ and each photo's label, which says whose map to take (on test, too)
Writes: runs/generate_masks_<model>/seed0/ (masks/ and masks_crf/)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, runs, scoring
from src.methods import class_specific_ccam
from src.postprocessing import finishing
from src.postprocessing.crf import DenseCRF

MODEL = "specific_37_class"  # specific_37_class or specific_cat_dog
SCALES = (1.0, 1.5)  # of the photo, each with its mirror image
THRESHOLD = 0.25  # of the map in [0, 1]; the pet is above it
IGNORE_BAND = 0.1  # pixels whose probability is this near to 0.5 are saved as 255, uncertain
REFINE = True  # also refine every mask with the dense CRF
CRF = "lattice"  # or pydensecrf, where the package is installed
BILATERAL_SRGB = 10.0  # grey levels: colour distance over which neighbours still pull at each other
BILATERAL_COMPAT = 4.0  # weight of that pull


def main(settings):
    crf = DenseCRF(bilateral_srgb=BILATERAL_SRGB, bilateral_compat=BILATERAL_COMPAT, backend=CRF)
    photos = data.load(settings)
    start = runs.checkpoint(settings, runs.find_script("train_class_specific_ccam/train_ccam_on_{}.py", model=MODEL))
    predict = class_specific_ccam.predictor(settings, photos, start, scales=SCALES)
    recipes = finishing.with_and_without_crf(crf if REFINE else None)
    run = runs.Run(settings, model=MODEL)
    scores = scoring.make_and_score(run, photos, predict, recipes, threshold=THRESHOLD, ignore_band=IGNORE_BAND)
    run.finish(scores, "train_unet/train_on_37CCAM_CRF.py" if MODEL == "specific_37_class" else None)


if __name__ == "__main__":
    cli.run(main, globals())
