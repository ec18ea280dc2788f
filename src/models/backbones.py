"""Backbones at stride 16: torchvision's ResNets and MobileNetV2 as five stages."""

import torch
import torchvision
from torch import nn
from torch.fx.experimental.optimization import fuse

from src import check_choice, compute

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2")


class Backbone(nn.Module):
    """A torchvision network without its head, as five stages at strides 4 (or 2), 4, 8, 16 and 16.

    The last stride is 1 (strides [1, 2, 2, 1] in IRN's and CCAM's words): maps are twice as fine as the original's.

    Args:
        network: a torchvision ResNet or MobileNetV2.
    """

    def __init__(self, network):
        super().__init__()
        if hasattr(network, "layer4"):
            block = network.layer4[0]
            (block.conv2 if hasattr(block, "conv3") else block.conv1).stride = (1, 1)
            block.downsample[0].stride = (1, 1)
            stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
            stages = [stem, network.layer1, network.layer2, network.layer3, network.layer4]
            self.channels = (64, *(network.fc.in_features // shrink for shrink in (8, 4, 2, 1)))
        else:
            features = network.features
            features[14].conv[1][0].stride = (1, 1)
            stages = [features[:2], features[2:4], features[4:7], features[7:14], features[14:]]
            self.channels = (16, 24, 32, 96, network.last_channel)
        self.stages = nn.ModuleList(stages)
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


def torchvision_network(name, weights):
    """torchvision's classifier of one of BACKBONES, with weights of this name or, for None, random ones.

    Raises:
        InputError: unknown backbone.
    """
    check_choice("backbone", name, BACKBONES)
    return torchvision.models.get_model(name, weights=weights)


def fuse_batchnorm(model):
    """A network with a backbone on the device in evaluation mode, BatchNorm fused into the convolutions.

    That makes it a quarter faster. It can no longer be trained or saved.
    """
    model.eval()
    model.backbone.stages = nn.ModuleList(fuse(stage) for stage in model.backbone.stages)
    return compute.to_device(model)
