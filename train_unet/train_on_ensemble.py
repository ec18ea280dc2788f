"""Train a segmenter with a pretrained encoder on the ensemble's masks, then new ones on the masks of those before.

Run:    python train_unet/train_on_ensemble.py
Reads:  runs/ensemble_masks/seed0/masks_crf/ of trainval
Writes: runs/train_on_ensemble/seed0/: round<n>/ (checkpoint.pt; masks/ and masks_crf/ of the mean of the rounds so
        far), and of the last round's segmenter alone checkpoint.pt, masks/, masks_crf/ and, grown, masks_final/
Measured on the 597-photo subset, MobileNetV2, 2 cores, seed 0: 14 min, test IoU 85.5 %.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, evaluation, masks, runs, segmenters, training
from src.crf import CRF
from src.errors import check_choice

NAME = ""  # of an ablation, part of the run directory's name
MASKS = ""  # NAME of the ensemble_masks run to learn from
SEGMENTER = "backbone_unet"  # a U-Net around --backbone; or unet or one of torchvision's
ROUNDS = 3  # each trains a new network on the masks of the mean of those before
SIZE = 224  # pixels a side it sees
EPOCHS = 8  # passes over trainval a round
BATCH_SIZE = 16  # photos a step
LR = 0.001  # learning rate of AdamW, where the cosine schedule starts
SCALES = (1.0, 1.25, 1.5)  # of SIZE, for masks
REFINE = True  # rounds learn from masks refined by the dense CRF
IGNORE_BAND = 0.2  # pixels whose probability is this near to 0.5 do not train the next round
BILATERAL_COMPAT = 4.0  # weight of the CRF's pull between neighbours of like colour
GROW = 0.008  # of the longer side: the trimaps' border counts as pet, and masks end inside it


def main(settings):
    photos = data.load(settings)
    folder = "masks_crf" if REFINE else "masks"
    learned_from = runs.upstream(settings, "train_ccam/ensemble_masks.py", **runs.named(MASKS)) / folder
    check_choice("segmenter", SEGMENTER, segmenters.SEGMENTERS)
    run = runs.Run(settings, **runs.named(NAME))
    crf = CRF(bilateral_compat=BILATERAL_COMPAT)
    outputs = {"masks": masks.Recipe("pet"), "masks_crf": masks.Recipe("pet", refine=crf)}
    networks, metrics = [], {}
    for number in range(1, ROUNDS + 1):
        part = run.part(f"round{number}")

        def labels_of(i, made=learned_from):
            return masks.read(made / f"{photos.names[i]}.png", SIZE)

        networks += [training.train_segmenter(part, photos, labels_of, SEGMENTER, SIZE, EPOCHS, BATCH_SIZE, LR)]
        if number < ROUNDS:
            mean = evaluation.segmenter(networks, photos, SIZE, settings, SCALES)
            metrics[part.path.name] = found = evaluation.make_masks(part, photos, outputs, mean, IGNORE_BAND)
            run.log(f"round {number}: " + ", ".join(f"{k} {100 * v['pet_iou']:.1f}" for k, v in found.items()))
            learned_from = part.path / folder
    run.save(segmenters.checkpoint(networks[-1], SEGMENTER, settings, SIZE))
    last = evaluation.segmenter(networks[-1:], photos, SIZE, settings, SCALES)
    outputs["masks_final"] = masks.Recipe("pet", refine=crf, grow=GROW)
    run.finish(metrics | evaluation.make_masks(run, photos, outputs, last))


if __name__ == "__main__":
    cli.run(main, globals())
