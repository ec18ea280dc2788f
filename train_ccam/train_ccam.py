"""Train a class-agnostic CCAM on the features of a classifier.

Run:    python train_ccam/train_ccam.py --init cat_dog
Reads:  runs/train_classifier_<init>/seed0/, or the pretrained network with --init pretrained
Writes: runs/train_ccam_<init>/seed0/ (checkpoint.pt)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, runs
from src.methods import ccam
from src.models import classifiers

INIT = "pretrained"  # pretrained, cat_dog, 37_class, cat_dog_bg or 37_bg: the classifier to start from
EPOCHS = 20  # passes over trainval
BATCH_SIZE = 32  # photos a step; the loss compares every pair of them
ALPHA = 0.8  # how fast SimMax's weight falls with the rank
LR = 0.001  # learning rate of the backbone's stages that are not frozen
HEAD_LR = 0.01  # learning rate of the activation head
FROZEN_STAGES = 5  # first stages of the backbone that stay as they are; 5 trains the head alone


def main(settings):
    photos = data.load(settings)
    script = runs.find_script("train_classifier/train_classifier_{}.py", "pretrained", init=INIT)
    start = runs.checkpoint(settings, script)
    classifier, _ = classifiers.load(settings, start)
    run = runs.Run(settings, init=INIT)
    model = ccam.train(
        run, photos, ccam.CCAM(classifier),
        epochs=EPOCHS, batch_size=BATCH_SIZE, alpha=ALPHA, lr=LR, head_lr=HEAD_LR, frozen_stages=FROZEN_STAGES,
    )  # fmt: skip
    run.save(ccam.checkpoint(model, settings))
    run.finish({}, "train_ccam/evaluate_ccam.py", method="ccam", init=INIT)


if __name__ == "__main__":
    cli.run(main, globals())
