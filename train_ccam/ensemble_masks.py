"""Turn the map of one method, or the mean of several, into masks by the dense CRF, and mark what remains uncertain.

Run:    python train_ccam/ensemble_masks.py
Reads:  the finished runs of MEMBERS
Writes: runs/ensemble_masks/seed0/ (masks/ and masks_crf/, uncertain pixels 255)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, methods, runs, scoring
from src.methods import class_evidence, ensemble
from src.postprocessing import finishing
from src.postprocessing.crf import DenseCRF

NAME = ""  # of an ablation, part of the run directory's name
SUPERVISION = "labels"  # or boxes, of trainval: masks stay inside, and are unsure where only filling them adds
MEMBERS = ("ccam pretrained",)  # methods and what each started from, such as "class_specific_ccam specific_cat_dog"
SCALES = (1.0, 1.5)  # of the photo, each with its mirror image
THRESHOLD = 0.0  # of every map in [0, 1]; 0: each map's own, by Otsu's method
EVIDENCE = 0.5  # weight of what the pretrained network's classes say of each place (src/methods/class_evidence.py)
IGNORE_BAND = 0.2  # pixels whose probability is this near to 0.5 are saved as 255, uncertain
CRF = "lattice"  # or pydensecrf, where the package is installed
BILATERAL_SXY = 80.0  # pixels over which neighbours still pull at each other
BILATERAL_SRGB = 10.0  # grey levels of colour distance over which they do
BILATERAL_COMPAT = 5.0  # weight of that pull


def member(name, settings, photos):
    """The predictor of "<method> <init>", from its finished run."""
    name, _, init = name.partition(" ")
    method, variant = methods.get(name), {}
    if method.STARTS_FROM == "class_specific_ccam":
        script = runs.find_script("train_class_specific_ccam/train_ccam_on_{}.py", model=init)
    else:
        script = runs.find_script("train_classifier/train_classifier_{}.py", "pretrained", init=init)
    if method.STARTS_FROM == "ccam":
        script, variant = runs.find_script("train_ccam/train_{}.py", method=name), {"init": init}
    return method.predictor(settings, photos, runs.checkpoint(settings, script, **variant), scales=SCALES)


def main(settings):
    crf = DenseCRF(
        bilateral_sxy=BILATERAL_SXY, bilateral_srgb=BILATERAL_SRGB, bilateral_compat=BILATERAL_COMPAT, backend=CRF
    )
    photos = data.load(settings)
    boxes = data.boxes_of(settings, photos, SUPERVISION, "train_ccam/boxes_from_trimaps.py")
    predict = ensemble.predictor([member(name, settings, photos) for name in MEMBERS], threshold=THRESHOLD)
    recipes = finishing.with_and_without_crf(crf)
    run = runs.Run(settings, name=NAME)
    predict = class_evidence.weigh(run, photos, predict, weight=EVIDENCE)
    scores = scoring.make_and_score(run, photos, predict, recipes, ignore_band=IGNORE_BAND, boxes=boxes)
    supervision = "" if SUPERVISION == "labels" else SUPERVISION
    run.finish(scores, "train_unet/train_on_ensemble.py", name=NAME, masks=NAME, supervision=supervision)


if __name__ == "__main__":
    cli.run(main, globals())
