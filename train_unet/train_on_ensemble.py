"""Train a segmenter with a pretrained encoder on the ensemble's masks, then anew on its own masks, for some rounds.

Run:    python train_unet/train_on_ensemble.py
Reads:  runs/ensemble_masks/seed0/masks_crf/ of trainval
Writes: runs/train_on_ensemble/seed0/ (round<n>/ with checkpoint.pt, masks/ and masks_crf/)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, evaluation, masks, runs, segmenters, training
from src.crf import CRF
from src.errors import check_choice

SEGMENTER = "backbone_unet"  # a U-Net around --backbone; or unet or one of torchvision's
ROUNDS = 1  # each trains a new network on the masks of the one before
SIZE = 224  # pixels a side it sees
EPOCHS = 8  # passes over trainval a round
BATCH_SIZE = 16  # photos a step
LR = 0.001  # learning rate of AdamW, where the cosine schedule starts
IGNORE_BAND = 0.2  # pixels whose probability is this near to 0.5 do not train the next round
BILATERAL_SRGB = 10.0  # grey levels: colour distance over which neighbours still pull at each other
BILATERAL_COMPAT = 4.0  # weight of that pull


def main(settings):
    photos = data.load(settings)
    learned_from = runs.upstream(settings, "train_ccam/ensemble_masks.py") / "masks_crf"
    check_choice("segmenter", SEGMENTER, segmenters.SEGMENTERS)
    run = runs.Run(settings)
    crf = CRF(bilateral_srgb=BILATERAL_SRGB, bilateral_compat=BILATERAL_COMPAT)
    outputs = {"masks": ("pet", None, None), "masks_crf": ("pet", None, crf)}
    metrics = {}
    for number in range(1, ROUNDS + 1):
        part = run.part(f"round{number}")

        def labels_of(i, folder=learned_from):
            return masks.read(folder / f"{photos.names[i]}.png", SIZE)

        model = training.train_segmenter(part, photos, labels_of, SEGMENTER, SIZE, EPOCHS, BATCH_SIZE, LR)
        predict = evaluation.segmenter(model, photos, SIZE, settings)
        found = evaluation.make_masks(part, photos, outputs, predict, IGNORE_BAND)
        metrics = {f"round{number}": found} | metrics | found
        run.log(f"round {number}: " + ", ".join(f"{k} {100 * v['pet_iou']:.1f}" for k, v in found.items()))
        learned_from = part.path / "masks_crf"
    run.finish(metrics)


if __name__ == "__main__":
    cli.run(main, globals())
