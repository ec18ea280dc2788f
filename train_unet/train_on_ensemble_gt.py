"""Train the segmenter of train_on_ensemble.py on the ground truth: the bound of what the ensemble can give.

Run:    python train_unet/train_on_ensemble_gt.py
Reads:  the trimaps of trainval; the border counts as pet, as in the score
Writes: runs/train_on_ensemble_gt/seed0/ (checkpoint.pt, masks/ and masks_crf/)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, runs, scoring, training
from src.models import segmenters
from src.postprocessing import finishing, masks
from src.postprocessing.crf import DenseCRF

SEGMENTER = "backbone_unet"  # a U-Net around --backbone; or unet, one of torchvision's or smp:Unet:resnet34
EPOCHS = 8  # passes over trainval
BATCH_SIZE = 16  # photos a step
LR = 0.001  # learning rate of AdamW, where the cosine schedule starts
FROZEN_STAGES = 3  # first stages of a backbone_unet's backbone that stay as they are
SCALES = (1.25,)  # of --image-size, for masks: as large as training crops show photos on average
CRF = "lattice"  # or pydensecrf, where the package is installed
BILATERAL_COMPAT = 4.0  # weight of the CRF's pull between neighbours of like colour


def main(settings):
    crf = DenseCRF(bilateral_compat=BILATERAL_COMPAT, backend=CRF)
    photos, side = data.load(settings), settings.image_size
    settings.photos["ground truths"] = photos.digest_of_truths  # a run of others is not this one
    segmenters.check_name(SEGMENTER)
    reading = finishing.reading(SCALES, crf)
    run = runs.Run(settings)
    mask_of = masks.from_trimaps(photos, side)
    model = training.train_segmenter(
        run, photos, mask_of, segmenter=SEGMENTER, size=side, epochs=EPOCHS, batch_size=BATCH_SIZE, lr=LR,
        reading=reading, frozen_stages=FROZEN_STAGES,
    )  # fmt: skip
    predict = segmenters.predictor(settings, photos, [model], side, scales=SCALES)
    scores = scoring.make_and_score(run, photos, predict, finishing.recipes_of(reading, CRF))
    run.finish(scores)


if __name__ == "__main__":
    cli.run(main, globals())
