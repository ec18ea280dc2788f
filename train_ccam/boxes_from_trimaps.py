"""Boxes of whole pets, derived from the trimaps of trainval: what annotators would draw, to compare supervisions.

Oxford-IIIT Pet's own boxes are of heads. These are drawn around pet and border.

Run:    python train_ccam/boxes_from_trimaps.py
Reads:  the trimaps of trainval, ground truth; nothing but the boxes is kept of them
Writes: runs/boxes_from_trimaps/seed0/boxes.json, a COCO file, for --supervision boxes
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, compute, data, files, metrics, runs
from src.postprocessing import masks


def around(photos, i):
    """(width, height, COCO box) of a photo's ground truth; None for the box where it is empty."""
    truth = masks.ground_truth(photos, i)
    height, width = truth.shape
    box = metrics.box(truth == 1)
    if box is None:
        return width, height, None
    left, top, right, bottom = box
    return width, height, [left, top, right - left, bottom - top]


def main(settings):
    photos = data.load(settings, pixels=False)
    settings.photos["ground truths"] = photos.digest_of_truths  # a run of others is not this one
    masks.check_truths(photos)
    run = runs.Run(settings)
    index = photos.with_truth(photos.trainval)
    with compute.threads() as pool:
        found = list(pool.map(lambda i: around(photos, i), index))
    images, annotations = [], []
    for number, (i, (width, height, box)) in enumerate(zip(index, found, strict=True), 1):
        images.append({"id": number, "file_name": photos.paths[i].name, "width": width, "height": height})
        if box:
            annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "pet"}]}
    files.write_json(run.path / "boxes.json", coco)
    run.finish({}, "train_ccam/ensemble_masks.py", name="boxes", supervision="boxes")


if __name__ == "__main__":
    cli.run(main, globals(), alone=True)
