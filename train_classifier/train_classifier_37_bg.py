"""Fine-tune a classifier of the breeds and photos without a pet, so that it must look at the pet.

Run:    python train_classifier/train_classifier_37_bg.py
Reads:  the photos of --data-root and their breed labels, and the background photos
Writes: runs/train_classifier_37_bg/seed0/ (checkpoint.pt)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, runs, training
from src.models import classifiers

EPOCHS = 6  # passes over trainval
BATCH_SIZE = 16  # photos a step
LR = 0.005  # learning rate of the backbone, where the cosine schedule starts
HEAD_LR = 0.01  # learning rate of the new fully connected layer
FROZEN_STAGES = 3  # first stages of the backbone that stay as they are; 0 with random weights


def main(settings):
    photos = data.load(settings, background=True)
    model = classifiers.pretrained(settings)
    classes = [*photos.breed_names, "background"]
    run = runs.Run(settings)
    scores = training.train_classifier(
        run, photos, model, photos.breeds, classes,
        epochs=EPOCHS, batch_size=BATCH_SIZE, lr=LR, head_lr=HEAD_LR, frozen_stages=FROZEN_STAGES,
    )  # fmt: skip
    run.finish(scores, "train_classifier/evaluate_cam.py", method="cam", init="37_bg")


if __name__ == "__main__":
    cli.run(main, globals())
