"""Train a U-Net on the ground truth: the bound of what pseudo masks can give.

Run:    python train_unet/train_on_gt.py
Reads:  the trimaps of trainval; the border counts as pet, as in the score
Writes: runs/train_on_gt/seed0/ (checkpoint.pt)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, runs, training
from src.models import segmenters
from src.postprocessing import finishing, masks

SEGMENTER = "unet"  # or backbone_unet, lraspp_mobilenet_v3_large, another of torchvision's, or smp:Unet:resnet34
SIZE = 128  # pixels a side it sees: what two cores can train; the published U-Net saw 224
EPOCHS = 20  # passes over trainval
BATCH_SIZE = 8  # photos a step
LR = 0.002  # learning rate of AdamW, where the cosine schedule starts
SCALES = (1.0, 1.25, 1.5)  # of SIZE, for masks


def main(settings):
    photos = data.load(settings)
    settings.photos["ground truths"] = photos.digest_of_truths  # a run of others is not this one
    segmenters.check_name(SEGMENTER)
    run = runs.Run(settings)
    mask_of = masks.from_trimaps(photos, SIZE)
    training.train_segmenter(
        run, photos, mask_of, segmenter=SEGMENTER, size=SIZE, epochs=EPOCHS, batch_size=BATCH_SIZE, lr=LR,
        reading=finishing.reading(SCALES),
    )  # fmt: skip
    run.finish({}, "train_unet/evaluate_unet.py", model="train_on_gt")


if __name__ == "__main__":
    cli.run(main, globals())
