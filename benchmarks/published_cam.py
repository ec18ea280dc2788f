"""CAM's masks in the metric of the published code: overlap over the sum of both areas, border = background.

A perfect mask has 50 there, half a Dice; the published figures of CAM and CAM+ECS are such (instruction.md, section 2).

Run:    python benchmarks/published_cam.py --data-root PHOTOS --image-size 128 --runs-root runs/official
Reads:  the trimaps, and masks/ of the finished runs of evaluate_cam.py with CAM and CAM+ECS
Writes: nothing; prints the test mean of each run in %, and what was published
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import experiments
from src import InputError, cli, data, runs, scoring

METHODS = ("cam", "cam_ecs")  # of evaluate_cam.py


def overlap_over_sum(counts):
    """(N, 3, 2) of metrics.confusion to (N,): pixels in mask and pet over those of the mask plus those of the pet."""
    return counts[:, 0, 1] / (counts[:, 0].sum(1) + counts[:, :, 1].sum(1)).clip(1)


def main(settings):
    photos = data.load(settings, pixels=False)
    index = photos.with_truth(photos.test)
    if not len(index):
        raise InputError(f"no test photo with a trimap in {photos.root}")
    for experiment in experiments.EXPERIMENTS:
        path = runs.directory(settings, experiment.script, **experiment.variant)
        if experiment.variant.get("method") in METHODS and runs.finished(path):
            mean = 100 * overlap_over_sum(scoring.confusions(photos, index, path / "masks")).mean()
            print(f"{experiment.name}: {mean:.1f}, published {experiment.cells[0].published_iou}", flush=True)


if __name__ == "__main__":
    cli.run(main, globals())
