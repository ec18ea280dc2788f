"""Segmentation networks: the U-Net, and torchvision's by name."""

import torch
import torchvision
from torch import nn

from src import runs
from src.errors import InputError, check_choice

TORCHVISION = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50")
SEGMENTERS = ("unet", *TORCHVISION)
CLASSES = 2  # of a mask: background and pet


class UNet(nn.Module):
    """U-Net (Ronneberger et al., MICCAI 2015) with BatchNorm and padded convolutions.

    Args:
        filters: channels of each level, from the photo's size down; the side must be a multiple of 2^(levels - 1).
    """

    def __init__(self, filters=(32, 64, 128, 256)):
        super().__init__()
        self.down = nn.ModuleList(_twice(i, o) for i, o in zip((3, *filters), filters, strict=False))
        pairs = list(zip(filters, filters[1:], strict=False))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, stride=2) for high, low in pairs)
        self.merge = nn.ModuleList(_twice(2 * high, high) for high, _ in pairs)
        self.pool = nn.MaxPool2d(2)
        self.score = nn.Conv2d(filters[0], CLASSES, 1)

    def forward(self, x):
        """(N, 3, S, S) normalised photos to scores (N, 2, S, S)."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return self.score(x)


def _twice(inputs, outputs):
    layers = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return nn.Sequential(*layers)


class _OutOnly(nn.Module):
    """torchvision's segmenters return a dict; this returns its "out"."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


def build(name, imagenet=False):
    """A segmenter by name; `imagenet` starts torchvision's from an ImageNet backbone (downloaded).

    Raises:
        InputError: unknown name.
    """
    check_choice("segmenter", name, SEGMENTERS)
    if name == "unet":
        return UNet()
    start = "IMAGENET1K_V1" if imagenet else None
    try:
        network = torchvision.models.get_model(name, weights=None, weights_backbone=start, num_classes=CLASSES)
    except OSError as error:
        raise InputError(f"the ImageNet weights for {name} were not downloaded ({error})") from None
    return _OutOnly(network)


def checkpoint(model, name, size):
    """The plain dict from which `load` rebuilds a segmenter; `size` is the side it was trained at."""
    return {"network": "segmenter", "segmenter": name, "size": size, "state": model.state_dict()}


def load(path):
    """Rebuild a segmenter: (model, side of the photos it was trained at)."""
    saved = runs.load_tensors(path)
    if saved.get("network") != "segmenter":
        raise InputError(f"{path} holds a {saved.get('network')}, not a segmenter")
    model = build(saved["segmenter"])
    model.load_state_dict(saved["state"])
    return model, saved["size"]
