"""What aligned upsampling of maps gives over plain bilinear upsampling, with the same CCAM. A diagnostic on trainval.

Run:    python benchmarks/aligned_upsampling.py --data-root PHOTOS --backbone mobilenet_v2 --weights FILE
Reads:  runs/train_ccam_<init>/seed0/ and trainval's trimaps
Writes: nothing; prints mean pet IoU (border = pet, at --image-size) by threshold
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np
import torch.nn.functional as F

from src import cam, ccam, cli, data, evaluation, masks, metrics, models, runs

INIT = "pretrained"  # pretrained, cat_dog, 37_class, cat_dog_bg or 37_bg: what the CCAM started from
SCALES = (0.75, 1.0)  # of the photo, each with its mirror image
EVERY = 4  # score every so many trainval photos
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # of the map in [0, 1]


def plain(maps, side):
    """Bilinear upsampling as if a cell's centre were the middle of its 16 x 16 pixels."""
    return F.interpolate(maps[:, None].float(), (side, side), mode="bilinear")[:, 0]


def main(settings):
    photos = data.load(settings)
    path = runs.upstream(settings, "train_ccam/train_ccam.py", init=INIT)
    model = models.for_inference(ccam.load(path / "checkpoint.pt", settings.backbone)[0])
    predict = evaluation.ccam(model, photos, np.zeros(len(photos.names), np.int64), settings, SCALES)
    index = photos.trainval[::EVERY]
    trimaps = [masks.read_trimap(photos.trimap_path(i), settings.image_size) for i in index]
    print(f"{len(index)} trainval photos, IoU in % at thresholds {THRESHOLDS}")
    for name, upsample in (("plain", plain), ("aligned", cam.upsample)):
        cam.upsample = upsample
        maps = [one for some in data.chunks(index, 32) for one in predict(some)["ccam"]]
        counts = np.stack([metrics.sweep(m, t, np.array(THRESHOLDS)) for m, t in zip(maps, trimaps, strict=True)])
        means = [100 * metrics.per_photo_iou(counts[:, k]).mean() for k in range(len(THRESHOLDS))]
        print(f"{name:8}", " ".join(f"{mean:5.1f}" for mean in means), flush=True)


if __name__ == "__main__":
    cli.run(main, globals())
