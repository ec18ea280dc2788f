"""Make and score the masks of a method that needs nothing but a classifier: CAM, CAM+ECS, LayerCAM or another.

Run:    python train_classifier/evaluate_cam.py --method cam --init cat_dog
Reads:  runs/train_classifier_<init>/seed0/, or the pretrained network with --init pretrained
Writes: runs/evaluate_cam_<method>_<init>/seed0/ (masks/)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data, methods, runs, scoring
from src.postprocessing import finishing

METHOD = "cam"  # cam, cam_ecs, layercam: a file of src/methods that starts from a classifier
INIT = "pretrained"  # pretrained, cat_dog, 37_class, cat_dog_bg or 37_bg: the classifier
SCALES = (1.0, 1.5)  # of the photo, each with its mirror image
THRESHOLD = 0.15  # of the map in [0, 1]; the pet is above it
TEST_ONLY = False  # no masks of trainval photos: no later stage reads them
OPTIONS = ("",)  # the method's own hyper-parameters, such as delta=0.6 theta=0.2 for cam_ecs


def main(settings):
    method = methods.get(METHOD, starts_from=["classifier"])
    photos = data.load(settings, test_only=TEST_ONLY)
    script = runs.find_script("train_classifier/train_classifier_{}.py", "pretrained", init=INIT)
    start = runs.checkpoint(settings, script)
    predict = methods.predictor(method, settings, photos, start, scales=SCALES, options=OPTIONS)
    run = runs.Run(settings, method=METHOD, init=INIT)
    scores = scoring.make_and_score(run, photos, predict, {"masks": finishing.Recipe()}, threshold=THRESHOLD)
    run.finish(scores, "train_ccam/train_ccam.py", init=INIT)


if __name__ == "__main__":
    cli.run(main, globals())
