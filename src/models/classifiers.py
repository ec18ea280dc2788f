"""Classifiers: a backbone, global average pooling and one fully connected layer, the network that CAM needs."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from src import InputError, checkpoints, compute, data, distributed
from src.models import backbones


class Classifier(nn.Module):
    """Backbone, global average pooling, one fully connected layer (Zhou et al. 2016).

    Args:
        fc: nn.Linear; None for one without classes, of a pretrained network whose own head is of another kind.
    """

    def __init__(self, backbone, fc=None):
        super().__init__()
        self.backbone, self.fc = backbone, fc or _NoClasses(backbone.channels[-1], 0)

    def forward(self, images):
        """Photos (N, 3, H, W) to logits (N, K)."""
        return self.fc(self.backbone(images)[1].mean(dim=(2, 3)))


class _NoClasses(nn.Linear):
    def reset_parameters(self):
        """Nothing to initialise, of which torch would warn."""


def untrained(name, num_classes):
    """A classifier on the named backbone with random weights.

    Raises:
        InputError: unknown backbone.
    """
    backbone, _ = backbones.take_apart(name, backbones.create(name))
    return Classifier(backbone, nn.Linear(backbone.channels[-1], num_classes) if num_classes else None)


def pretrained(settings):
    """The classifier that --backbone and --weights name, with the head those weights come with.

    Returns:
        Classifier; `imagenet` and files of torchvision have 1000 classes, `random` too. A checkpoint of this project
        has its own.

    Raises:
        InputError: unknown backbone, weights file missing, or weights of another network.
    """
    name, weights = settings.backbone, settings.weights
    if weights in ("imagenet", "random"):
        with checkpoints.downloading(name):
            network = backbones.create(name, pretrained=weights == "imagenet")
        return Classifier(*backbones.take_apart(name, network))
    path = Path(weights)
    state = checkpoints.read(path)
    if isinstance(state, dict) and "network" in state:
        return load(settings, path)[0]
    network = backbones.create(name)
    checkpoints.fill(network, state, path, name)
    return Classifier(*backbones.take_apart(name, network))


def checkpoint(classifier, settings, classes):
    """The plain dict from which `load` rebuilds a classifier."""
    return {
        "network": "classifier",
        "backbone": settings.backbone,
        "classes": list(classes),
        "image_size": settings.image_size,
        "state": classifier.state_dict(),
    }


def load(settings, path):
    """Rebuild a classifier from its checkpoint.

    Args:
        path: of the checkpoint; None: the pretrained network.

    Returns:
        (Classifier, names of its classes, or None for the pretrained network, whose classes are not ours).

    Raises:
        InputError: the file is missing, or holds another kind of network or another backbone.
    """
    if path is None:
        return pretrained(settings), None
    saved = checkpoints.read_network(path, "classifier", settings.backbone, classes=are_classes)
    model = untrained(settings.backbone, len(saved["classes"]))
    checkpoints.fill(model, saved["state"], path)
    return model, saved["classes"]


def are_classes(value):
    """Whether a stranger's checkpoint has names of classes."""
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


@torch.inference_mode()
def predict_classes(model, photos, index, among=None, chunk=64):
    """The class with the highest logit for each photo, int64 (n,), in full precision.

    One pass is cheap beside a map's four or more, and a choice is not a little off: in bf16 MobileNetV2 takes another
    of ImageNet's 1000 classes for every tenth photo, which costs the pretrained CAM a quarter to half a point.

    Args:
        among: only the first so many classes are candidates; None: all.

    Raises:
        InputError: the network has no classes.
    """
    if not model.fc.out_features:
        raise InputError(
            "CAM needs a linear layer after the pooling, and this network's head is another; fine-tune it first"
        )
    found = {}
    for some in distributed.shard(data.chunks(index, chunk)):
        logits = model(compute.normalise(photos.batch(some)))[:, :among]
        found.update(zip(some.tolist(), compute.to_numpy(logits.argmax(1)), strict=True))
    found = distributed.all_gather_dicts(found)
    return np.array([found[int(i)] for i in index], np.int64)
