"""Backbones at stride 16: torchvision's ResNets and MobileNetV2, and what fits of timm, as five stages."""

import re

import torch
import torchvision
from torch import nn
from torch.fx.experimental.optimization import fuse

from src import InputError, check_choice, compute
from src.models import timm_networks

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2")


class Backbone(nn.Module):
    """A network without its head, as five stages at strides 4 (or 2), 4, 8, 16 and 16.

    The last stride is 1 (strides [1, 2, 2, 1] in IRN's and CCAM's words): maps are twice as fine as the original's.

    Args:
        stages: five modules, the first of which sees normalised photos.
        channels: of the stages.
        centre: of maps.upsample, where in its pixels a cell looks; 0 for padded strided layers.
        traceable: torch.fx can read the stages.
    """

    def __init__(self, stages, channels, centre=0.0, traceable=True):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels, self.centre, self.traceable = channels, centre, traceable
        self.frozen = 0

    def pyramid(self, images):
        """(N, 3, H, W) normalised photos to the features of all five stages, of self.channels channels."""
        found = []
        for number, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen):
                images = stage(images)
            found.append(images)
        return found

    def forward(self, images):
        """(N, 3, H, W) normalised photos to the last two stages' features, both (N, C, H/16, W/16)."""
        return self.pyramid(images)[3:]

    def freeze(self, stages):
        """Keep the first stages as they are, weights and BatchNorm statistics alike; 5 freezes everything."""
        self.frozen = stages
        for stage in self.stages[:stages]:
            stage.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode=True):
        super().train(mode)
        for stage in self.stages[: self.frozen]:
            stage.eval()
        return self


def create(name, pretrained=False):
    """The classifier of torchvision or timm that --backbone names, with ImageNet's weights or random ones.

    Raises:
        InputError: unknown backbone. OSError: the weights were not downloaded.
    """
    if name.startswith("timm:"):
        if not re.fullmatch(r"timm:[\w.]+", name):  # timm would take others for folders, or for what to download
            raise InputError(f"{name[:60]} is no name of a network of timm's")
        return timm_networks.create(name.removeprefix("timm:"), pretrained)
    check_choice("backbone", name, (*BACKBONES, "timm:NAME"))
    return torchvision.models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)


def take_apart(name, network):
    """A network of `create`, which is used up, as (Backbone, its nn.Linear after the pooling or None).

    Raises:
        InputError: a network of timm that does not fit.
    """
    if name.startswith("timm:"):
        stages, known, fc = timm_networks.take_apart(name.removeprefix("timm:"), network)
        return Backbone(stages, **known), fc
    if hasattr(network, "layer4"):
        block = network.layer4[0]
        (block.conv2 if hasattr(block, "conv3") else block.conv1).stride = (1, 1)
        block.downsample[0].stride = (1, 1)
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        channels = (64, *(network.fc.in_features // shrink for shrink in (8, 4, 2, 1)))
        return Backbone([stem, network.layer1, network.layer2, network.layer3, network.layer4], channels), network.fc
    features = network.features
    features[14].conv[1][0].stride = (1, 1)
    stages = [features[:2], features[2:4], features[4:7], features[7:14], features[14:]]
    return Backbone(stages, (16, 24, 32, 96, network.last_channel)), network.classifier[-1]


def fuse_batchnorm(model):
    """A network with a backbone on the device in evaluation mode, BatchNorm fused into the convolutions.

    That makes it a quarter faster. It can no longer be trained or saved. A backbone of timm's stays as it is.
    """
    model.eval()
    if model.backbone.traceable:
        model.backbone.stages = nn.ModuleList(fuse(stage) for stage in model.backbone.stages)
    return compute.to_device(model)
