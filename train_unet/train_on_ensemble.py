"""Train a segmenter with a pretrained encoder on the ensemble's masks, then new ones on the masks of those before.

Run:    python train_unet/train_on_ensemble.py
Reads:  runs/ensemble_masks/seed0/masks_crf/ of trainval
Writes: runs/train_on_ensemble/seed0/: checkpoint.pt, masks/, masks_crf/, grown masks_final/; round<n>/ of each round
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, runs, scoring, training
from src.methods import class_evidence
from src.models import segmenters
from src.postprocessing import crf, finishing, masks

NAME = ""  # of an ablation, part of the run directory's name
SUPERVISION = "labels"  # or boxes, of trainval: masks stay inside, and the segmenter is to touch their sides
MASKS = ""  # NAME of the ensemble_masks run to learn from
SCENES = False  # the photos of background/ train, too, as empty masks
SEGMENTER = "backbone_unet"  # a U-Net around --backbone; or unet, one of torchvision's or smp:Unet:resnet34
ROUNDS = 3  # each trains a new network on the masks of the mean of those before
EPOCHS = 8  # passes over trainval of the last round
EARLY = 0.5  # share of them in the rounds before
BATCH_SIZE = 16  # photos a step
LR = 0.001  # learning rate of AdamW, where the cosine schedule starts
FROZEN_STAGES = 3  # first stages of a backbone_unet's backbone that stay as they are
SCALES = (1.25,)  # of --image-size, for masks: as large as training crops show photos on average
EVIDENCE = 0.5  # weight of what the pretrained network's classes say, in the masks that further rounds learn from
REFINE = True  # rounds learn from masks refined by the dense CRF
IGNORE_BAND = 0.2  # pixels whose probability is this near to 0.5 do not train the next round
CRF = "lattice"  # or pydensecrf, where the package is installed
BILATERAL_COMPAT = 4.0  # weight of the CRF's pull between neighbours of like colour
KEEP = 0.5  # where the CRF leaves less of the subject, the last masks are the network's own
LEVEL = 0.3  # probability over which a pixel of the last masks is subject, after KEEP
DILATE = 0.008  # of the longer side: the trimaps' border counts as pet, and masks end inside it


def main(settings):
    refine = crf.DenseCRF(bilateral_compat=BILATERAL_COMPAT, backend=CRF)
    photos, side = data.load(settings, background=SCENES), settings.image_size
    boxes = data.boxes_of(settings, photos, SUPERVISION, "train_ccam/boxes_from_trimaps.py")
    source = runs.upstream(settings, "train_ccam/ensemble_masks.py", name=MASKS) / ("masks_crf" if REFINE else "masks")
    segmenters.check_name(SEGMENTER)
    recipes, reading = finishing.with_and_without_crf(refine), finishing.reading(SCALES, refine, DILATE, KEEP, LEVEL)
    how = dict(segmenter=SEGMENTER, size=side, reading=reading, batch_size=BATCH_SIZE, frozen_stages=FROZEN_STAGES)
    run, learnt, networks, scores = runs.Run(settings, name=NAME), photos.only_trainval(), [], {}
    for number, epochs in enumerate([EPOCHS * EARLY] * (ROUNDS - 1) + [EPOCHS], 1):
        part = run.part(f"round{number}")
        labels = masks.from_folder(photos, source, side)
        networks.append(training.train_segmenter(part, photos, labels, boxes=boxes, epochs=epochs, lr=LR, **how))
        if number < ROUNDS:
            mean = segmenters.predictor(settings, photos, networks, side, scales=SCALES)
            mean = class_evidence.weigh(part, photos, mean, weight=EVIDENCE)
            found = scoring.make_and_score(part, learnt, mean, recipes, ignore_band=IGNORE_BAND, boxes=boxes)
            run.log(", ".join([f"round {number}", *(f"{k} {100 * v['pet_iou']:.1f}" for k, v in found.items())]))
            scores[part.path.name], source = found, part.path / source.name
    run.save(segmenters.checkpoint(networks[-1], SEGMENTER, settings, side, reading))
    last = segmenters.predictor(settings, photos, networks[-1:], side, scales=SCALES)
    run.finish(scores | scoring.make_and_score(run, photos, last, finishing.recipes_of(reading, CRF), boxes=boxes))


if __name__ == "__main__":
    cli.run(main, globals())
