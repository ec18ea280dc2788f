"""Make and score the masks of a class-agnostic CCAM or CCAM+ECS, with and without the dense CRF.

Run:    python train_ccam/evaluate_ccam.py --method ccam --init cat_dog
Reads:  runs/train_<method>_<init>/seed0/
Writes: runs/evaluate_ccam_<method>_<init>/seed0/ (masks/, and with --refine masks_crf/)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, methods, runs, scoring
from src.postprocessing import finishing
from src.postprocessing.crf import DenseCRF

METHOD = "ccam"  # ccam or ccam_ecs: a file of src/methods with a script train_<method>.py beside this one
INIT = "pretrained"  # pretrained, cat_dog, 37_class, cat_dog_bg or 37_bg: what the CCAM started from
SCALES = (1.0, 1.5)  # of the photo, each with its mirror image
THRESHOLD = 0.25  # of the map in [0, 1]; the pet is above it
IGNORE_BAND = 0.0  # pixels whose probability is this near to 0.5 are saved as 255, uncertain
TEST_ONLY = False  # no masks of trainval photos: no later stage reads them
REFINE = False  # also refine every mask with the dense CRF
CRF = "lattice"  # or pydensecrf, where the package is installed
BILATERAL_SRGB = 10.0  # grey levels: colour distance over which neighbours still pull at each other
BILATERAL_COMPAT = 4.0  # weight of that pull


def main(settings):
    crf = DenseCRF(bilateral_srgb=BILATERAL_SRGB, bilateral_compat=BILATERAL_COMPAT, backend=CRF)
    method = methods.get(METHOD, starts_from=["ccam"])
    photos = data.load(settings, test_only=TEST_ONLY)
    runs.find_script("train_classifier/train_classifier_{}.py", "pretrained", init=INIT)  # such a classifier is known
    start = runs.checkpoint(settings, runs.find_script("train_ccam/train_{}.py", method=METHOD), init=INIT)
    predict = method.predictor(settings, photos, start, scales=SCALES)
    recipes = finishing.with_and_without_crf(crf if REFINE else None)
    run = runs.Run(settings, method=METHOD, init=INIT)
    scores = scoring.make_and_score(run, photos, predict, recipes, threshold=THRESHOLD, ignore_band=IGNORE_BAND)
    run.finish(scores, "train_class_specific_ccam/train_ccam_on_specific_37_class.py")


if __name__ == "__main__":
    cli.run(main, globals())
