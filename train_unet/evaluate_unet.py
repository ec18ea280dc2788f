"""Make and score the masks of a trained segmenter.

Run:    python train_unet/evaluate_unet.py --model train_on_37CCAM_CRF
Reads:  runs/<model>/seed0/
Writes: runs/evaluate_unet_<model>/seed0/ (masks/, and with --refine masks_crf/)
Measured on the 597-photo subset, MobileNetV2, 2 cores, seed 0: 1.2 min, test IoU 66.3 %.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import check_choice, cli, compute, data, runs, scoring
from src.models import segmenters
from src.postprocessing import masks
from src.postprocessing.crf import DenseCRF

MODEL = "train_on_37CCAM_CRF"  # a script of this folder that trains: train_on_...
SCALES = (1.0, 1.25, 1.5)  # of the side that it was trained at
REFINE = False  # also refine every mask with the dense CRF
CRF = "lattice"  # or pydensecrf, where the package is installed
BILATERAL_SRGB = 10.0  # grey levels: colour distance over which neighbours still pull at each other
BILATERAL_COMPAT = 4.0  # weight of that pull
DILATE = 0.0  # of the longer side: grow the masks by this


def main(settings):
    check_choice("model", MODEL, sorted(path.stem for path in Path(__file__).parent.glob("train_on_*.py")))
    photos = data.load(settings)
    model, size = segmenters.load(runs.checkpoint(settings, f"train_unet/{MODEL}.py"))
    model = compute.to_device(model).eval()
    predict = segmenters.predictor(settings, photos, [model], size, scales=SCALES)
    crf = DenseCRF(bilateral_srgb=BILATERAL_SRGB, bilateral_compat=BILATERAL_COMPAT, backend=CRF)
    recipes = masks.with_and_without_crf(None, REFINE and crf, dilation=DILATE)
    run = runs.Run(settings, model=MODEL)
    scores = scoring.make_and_score(run, photos, predict, recipes)
    run.finish(scores)


if __name__ == "__main__":
    cli.run(main, globals())
