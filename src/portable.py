"""A trained segmenter for programs without this project: ONNX, torch.export, and a JSON of what surrounds them."""

import io
import shutil
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from src import InputError, compute, files, maps, prediction
from src.models import segmenters

EXAMPLE = Path(__file__).with_name("portable_example.py")
NEEDS = ("onnx", "onnxscript")  # of torch.onnx's exporter
TORCH = "2.9"  # from which on its exporter takes an exported program as it is


class Probability(nn.Module):
    """(N, 3, S, S) normalised photos to the probability of the subject, (N, S, S) in [0, 1].

    Args:
        network: of models.segmenters. side: in pixels at which it sees the photos.
    """

    def __init__(self, network, side):
        super().__init__()
        self.network, self.side = network, side

    def forward(self, photos):
        size = photos.shape[-2:]
        scaled = F.interpolate(photos, (self.side, self.side), mode="bilinear", antialias=self.side < size[0])
        return F.interpolate(self.network(scaled).softmax(1)[:, 1:], size, mode="bilinear")[:, 0]


def write(checkpoint, folder):
    """Write segmenter.onnx, segmenter.pt2, segmenter.json and example.py into a folder, whole or not at all.

    The batch is of any size, the photos have the side that the network was trained at.

    Args:
        checkpoint: path of a segmenter's checkpoint. folder: Path; an earlier export there is replaced.

    Raises:
        InputError: no segmenter there, a package is missing or too old, or the folder holds something else.
    """
    _check_packages()
    network, size, reading = segmenters.load(checkpoint)
    seen = maps.scaled_side(size, reading["scales"][0])
    with files.replacing(folder, "segmenter.json") as part:
        _write_programs(Probability(network, seen).eval(), size, part)
        files.write_json(part / "segmenter.json", description(size, reading))
        shutil.copyfile(EXAMPLE, part / "example.py")


def _write_programs(network, side, folder):
    photos = (torch.zeros(2, 3, side, side),)  # a batch of one would be taken for a constant
    names = {"input_names": ["photos"], "output_names": ["probability"]}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters' own insides
        program = torch.export.export(network, photos, dynamic_shapes=({0: torch.export.Dim("batch")},))
        content = io.BytesIO()  # torch ends the program where a file cannot be written
        torch.export.save(program, content)
        with files.writing(folder / "segmenter.pt2") as file:
            file.write(content.getbuffer())
        made = torch.onnx.export(program, dynamo=True, verbose=False, dynamic_shapes=({0: "batch"},), **names)
        made.save(folder / "segmenter.onnx")


def description(side, reading):
    """What a program must do before and after the network to get the masks of `prediction.load(fast=True)`.

    Args:
        side: of the photos that go in. reading: of postprocessing.finishing.reading.
    """
    return {
        "files": {"onnx": "segmenter.onnx", "torch.export": "segmenter.pt2", "example": "example.py"},
        "input": {
            "name": "photos", "shape": ["batch", 3, side, side], "dtype": "float32",
            "layout": "NCHW", "channels": "RGB", "mean": compute.MEAN, "std": compute.STD,
            "steps": ["turn the photo upright by its EXIF tag", "RGB, 8 bits a channel",
                      f"squash to {side} x {side}, bilinear over the whole area that a pixel comes from (Pillow's "
                      "BILINEAR; OpenCV's INTER_LINEAR skips pixels)", "(value / 255 - mean) / std"],
        },
        "output": {
            "name": "probability", "shape": ["batch", side, side], "dtype": "float32", "range": [0, 1],
            "meaning": "of the subject at each pixel: class 1 of the softmax, which is in the network already",
        },
        "mask": {
            "threshold": 0.5, "growth": reading["dilation"], "empty_below": prediction.EMPTY_BELOW,
            "steps": ["empty if the mean of the probabilities over threshold is under empty_below, or none is",
                      "resize the probability to the photo's size, bilinear", "subject where it is over threshold",
                      "r = round(growth * longer side): a pixel within r of the subject in x and y is subject, too"],
        },
        "left_out": {
            "scales": reading["scales"], "mirror": "the mean is also over mirror images", "crf": reading["crf"],
            "large_photos": f"over {prediction.MAX_SIDE} pixels the outline follows the photo's edges (guided filter)",
        },
        "made_with": {"torch": torch.__version__},
    }  # fmt: skip


def _check_packages():
    try:
        for name in NEEDS:
            __import__(name)
    except ImportError as error:
        raise InputError(f"{error.name} is missing; pip install {' '.join(NEEDS)}") from None
    if torch.__version__ < TORCH:  # a TorchVersion compares numbers
        raise InputError(f"an export needs torch {TORCH} or newer; this is {torch.__version__}")
