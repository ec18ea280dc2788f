"""Train one CCAM for each breed, on that breed's photos alone.

Run:    python train_class_specific_ccam/train_ccam_on_specific_37_class.py
Reads:  the photos of --data-root, their breed labels and the pretrained network
Writes: runs/train_ccam_on_specific_37_class/seed0/ (checkpoint.pt: one backbone, a head for each breed)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, runs
from src.methods import ccam, class_specific_ccam
from src.models import classifiers

EPOCHS = 20  # passes over trainval
BATCH_SIZE = 32  # photos a step, all of one class
ALPHA = 0.8  # how fast SimMax's weight falls with the rank
HEAD_LR = 0.01  # learning rate of the activation heads; the backbone is shared and stays as it is


def main(settings):
    photos = data.load(settings)
    run = runs.Run(settings)
    model = ccam.CCAM(classifiers.pretrained(settings), heads=len(photos.breed_names))
    model = class_specific_ccam.train(
        run, photos, model, photos.breeds, epochs=EPOCHS, batch_size=BATCH_SIZE, alpha=ALPHA, head_lr=HEAD_LR
    )
    run.save(ccam.checkpoint(model, settings, photos.breed_names))
    run.finish({}, "train_class_specific_ccam/generate_masks.py", model="specific_37_class")


if __name__ == "__main__":
    cli.run(main, globals())
