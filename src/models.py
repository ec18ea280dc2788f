"""Backbones at stride 16 and the classifier on top."""

from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.fx.experimental.optimization import fuse

from src import compute, runs
from src.errors import InputError, check_choice

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2")
INITS = ("pretrained", "cat_dog", "37_class", "cat_dog_bg", "37_bg")


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

    def pyramid(self, photos):
        """(N, 3, H, W) normalised photos to the features of all five stages, of self.channels channels."""
        found = []
        for number, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen):
                photos = stage(photos)
            found.append(photos)
        return found

    def forward(self, photos):
        """(N, 3, H, W) normalised photos to the last two stages' features, both (N, C, H/16, W/16)."""
        return self.pyramid(photos)[3:]

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


class Classifier(nn.Module):
    """Backbone, global average pooling, one fully connected layer: the network that CAM needs (Zhou et al. 2016)."""

    def __init__(self, backbone, fc):
        super().__init__()
        self.backbone, self.fc = backbone, fc

    def forward(self, photos):
        """Photos (N, 3, H, W) to class scores (N, K)."""
        return self.fc(self.backbone(photos)[1].mean(dim=(2, 3)))


def for_inference(model):
    """A classifier or CCAM on the device in evaluation mode, BatchNorm folded into the convolutions (a quarter faster).

    It can no longer be trained or saved.
    """
    model.eval()
    model.backbone.stages = nn.ModuleList(fuse(stage) for stage in model.backbone.stages)
    return compute.place(model)


def untrained(name, num_classes):
    """A classifier of the named architecture with random weights.

    Raises:
        InputError: unknown backbone.
    """
    network = _torchvision_network(name, None)
    backbone = Backbone(network)
    return Classifier(backbone, nn.Linear(backbone.channels[-1], num_classes))


def pretrained(settings):
    """The classifier that --backbone and --weights name, with the head those weights come with.

    Returns:
        Classifier; `imagenet` and files of torchvision have 1000 classes, `random` too.

    Raises:
        InputError: unknown backbone, weights file missing, or weights of another network.
    """
    name, weights = settings.backbone, settings.weights
    if weights == "imagenet":
        try:
            return _with_own_head(_torchvision_network(name, "IMAGENET1K_V1"))
        except OSError as error:
            raise InputError(f"the ImageNet weights of {name} were not downloaded ({error}); --weights FILE") from None
    if weights == "random":
        return _with_own_head(_torchvision_network(name, None))
    if weights == "drawings":
        path = runs.upstream(settings, "train_classifier/pretrain_on_drawings.py") / "checkpoint.pt"
    else:
        path = Path(weights).expanduser()
    state = runs.load_tensors(path)
    if isinstance(state, dict) and state.get("network") == "classifier":
        return load_classifier(path, name)[0]
    network = _torchvision_network(name, None)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not hold weights of {name}: {_first_mismatch(error)}") from None
    return _with_own_head(network)


def checkpoint(classifier, settings, classes):
    """The plain dict from which `load_classifier` rebuilds a classifier."""
    return {
        "network": "classifier",
        "backbone": settings.backbone,
        "classes": list(classes),
        "image_size": settings.image_size,
        "state": classifier.state_dict(),
    }


def load_classifier(path, backbone):
    """Rebuild a classifier from its checkpoint.

    Returns:
        (Classifier, names of its classes).

    Raises:
        InputError: the file is missing, or holds another kind of network or another backbone.
    """
    saved = runs.load_tensors(path)
    if saved.get("network") != "classifier" or saved["backbone"] != backbone:
        held = f"a {saved.get('network')} on {saved.get('backbone')}"
        raise InputError(f"{path} holds {held}, not a classifier on {backbone}")
    model = untrained(backbone, len(saved["classes"]))
    model.load_state_dict(saved["state"])
    return model, saved["classes"]


def initial(settings, init):
    """The classifier that a later stage starts from: "pretrained", or the name of a trained one.

    Args:
        init: one of INITS; all but the first name a script train_classifier/train_classifier_<init>.py.

    Returns:
        (Classifier, names of its classes, or None for pretrained weights, whose classes are not ours).
    """
    check_choice("init", init, INITS)
    if init == "pretrained":
        return pretrained(settings), None
    path = runs.upstream(settings, f"train_classifier/train_classifier_{init}.py")
    return load_classifier(path / "checkpoint.pt", settings.backbone)


def _torchvision_network(name, weights):
    check_choice("backbone", name, BACKBONES)
    return torchvision.models.get_model(name, weights=weights)


def _with_own_head(network):
    return Classifier(Backbone(network), network.fc if hasattr(network, "fc") else network.classifier[-1])


def _first_mismatch(error):
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1][:160] if len(lines) > 1 else lines[0][:160]
