"""Train a class-agnostic CCAM together with the classifier and with its ECS-CAM as a guide.

Run:    python train_ccam/train_ccam_ecs.py --init cat_dog
Reads:  runs/train_classifier_<init>/seed0/, or the pretrained network with --init pretrained
Writes: runs/train_ccam_ecs_<init>/seed0/ (checkpoint.pt)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, compute, data, runs
from src.methods import cam, ccam, ccam_ecs
from src.models import classifiers

INIT = "pretrained"  # pretrained, cat_dog, 37_class, cat_dog_bg or 37_bg: the classifier to start from
EPOCHS = 4  # passes over trainval
BATCH_SIZE = 32  # photos a step; the loss compares every pair of them
ALPHA = 0.8  # how fast SimMax's weight falls with the rank
LR = 0.001  # learning rate of the backbone's stages that are not frozen, and of the fully connected layer
HEAD_LR = 0.01  # learning rate of the activation head
FROZEN_STAGES = 4  # first stages of the backbone that stay as they are
DELTA = 0.5  # ECS erases where the CAM is over this
THETA = 0.15  # ECS takes over what the second look finds over this: the threshold of a CAM's mask
ECS_WEIGHT = 5.0  # of the squared distance between the map and the ECS-CAM
CLASS_WEIGHT = 1.0  # of the classification loss


def main(settings):
    photos = data.load(settings)
    script = runs.find_script("train_classifier/train_classifier_{}.py", "pretrained", init=INIT)
    start = runs.checkpoint(settings, script)
    classifier, classes = classifiers.load(settings, start)
    run = runs.Run(settings, init=INIT)
    # trainval is asked for its labels; the pretrained network, which has other classes, for what it predicts itself
    labels = cam.target_classes(compute.to_device(classifier).eval(), classes, photos.only_trainval())
    model = ccam_ecs.train(
        run, photos, ccam_ecs.GuidedCCAM(classifier), labels,
        epochs=EPOCHS, batch_size=BATCH_SIZE, alpha=ALPHA, lr=LR, head_lr=HEAD_LR, frozen_stages=FROZEN_STAGES,
        delta=DELTA, theta=THETA, ecs_weight=ECS_WEIGHT, class_weight=CLASS_WEIGHT,
    )  # fmt: skip
    run.save(ccam.checkpoint(model, settings))
    run.finish({}, "train_ccam/evaluate_ccam.py", method="ccam_ecs", init=INIT)


if __name__ == "__main__":
    cli.run(main, globals())
