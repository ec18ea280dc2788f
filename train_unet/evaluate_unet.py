"""Make and score the masks of a trained segmenter.

Run:    python train_unet/evaluate_unet.py --model train_on_37CCAM_CRF
Reads:  runs/<model>/seed0/, whose checkpoint says at which scales, and with which dense CRF and dilation
Writes: runs/evaluate_unet_<model>/seed0/ (masks/, and where the checkpoint has them masks_crf/ and masks_final/)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import check_choice, cli, compute, data, runs, scoring
from src.models import segmenters
from src.postprocessing import finishing

MODEL = "train_on_37CCAM_CRF"  # a script of this folder that trains: train_on_...
TEST_ONLY = False  # no masks of trainval photos
CRF = "lattice"  # or pydensecrf, where the package is installed


def main(settings):
    check_choice("model", MODEL, sorted(path.stem for path in Path(__file__).parent.glob("train_on_*.py")))
    photos = data.load(settings, test_only=TEST_ONLY)
    model, size, reading = segmenters.load(runs.checkpoint(settings, f"train_unet/{MODEL}.py"))
    model = compute.to_device(model).eval()
    predict = segmenters.predictor(settings, photos, [model], size, scales=reading["scales"])
    recipes = finishing.recipes_of(reading, CRF)
    run = runs.Run(settings, model=MODEL)
    run.log(f"read as it was trained to be: {reading}")
    scores = scoring.make_and_score(run, photos, predict, recipes)
    run.finish(scores)


if __name__ == "__main__":
    cli.run(main, globals())
