"""Oracle: a method's IoU on trainval over thresholds, with aligned and with plain upsampling of its maps.

Run:    python benchmarks/threshold_sweep.py --data-root PHOTOS --backbone mobilenet_v2 --weights FILE
Reads:  runs/train_<method>_<init>/seed0/, or the classifier for a method that starts from one, and trainval's trimaps
Writes: nothing; prints mean pet IoU in % (border = pet, at --image-size). It looks at the truth: a diagnostic only.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np
import torch.nn.functional as F

from src import cli, data, maps, methods, metrics, runs
from src.postprocessing import masks

METHOD = "ccam"  # of src/methods
INIT = "pretrained"  # pretrained, cat_dog, 37_class, cat_dog_bg or 37_bg: what it started from
SCALES = (1.0, 1.5)  # of the photo, each with its mirror image, as in evaluate_ccam.py
EVERY = 4  # score every so many trainval photos
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # of the map in [0, 1]


def plain(found, side, centre=0.5):
    """Bilinear upsampling as if a cell's centre were the middle of its 16 x 16 pixels."""
    return F.interpolate(found[:, None].float(), (side, side), mode="bilinear")[:, 0]


def main(settings):
    photos = data.load(settings)
    method = methods.get(METHOD, starts_from=["classifier", "ccam"])
    if method.STARTS_FROM == "classifier":
        start = runs.checkpoint(
            settings, runs.find_script("train_classifier/train_classifier_{}.py", "pretrained", init=INIT)
        )
    else:
        start = runs.checkpoint(settings, runs.find_script("train_ccam/train_{}.py", method=METHOD), init=INIT)
    predict = method.predictor(settings, photos, start, scales=SCALES)
    index = photos.trainval[::EVERY]
    trimaps = [masks.read_trimap(photos, i, settings.image_size) for i in index]
    print(f"{len(index)} trainval photos, IoU in % at thresholds {THRESHOLDS}")
    for name, upsample in (("plain", plain), ("aligned", maps.upsample)):
        maps.upsample = upsample  # where multi_scale looks it up
        found = [one for some in data.chunks(index, 32) for one in predict(some)]
        means = []
        for threshold in THRESHOLDS:
            counts = [metrics.confusion(m > threshold, t) for m, t in zip(found, trimaps, strict=True)]
            means.append(100 * metrics.per_photo_iou(np.stack(counts)).mean())
        print(f"{name:8}", " ".join(f"{mean:5.1f}" for mean in means), flush=True)


if __name__ == "__main__":
    cli.run(main, globals())
