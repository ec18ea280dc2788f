"""timm's networks as backbones, `--backbone timm:NAME`: cut in five stages, brought to stride 16, and measured.

Nothing of a network is known by its name. timm says where stages end; that the stages are the network, what its cells
look at and whether a linear layer follows its pooling is measured on a copy with random weights.
"""

import functools
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from src import InputError, compute, first_line

STRIDES = (4, 8, 16, 16)  # of the last four stages
SIDE = 224  # of the photos that a network is measured on
TOLERANCE = 2  # pixels of the photo that a stage's cells may lie beside where maps.upsample puts them


def create(name, pretrained=False):
    """timm's classifier of this name, with ImageNet's weights or random ones.

    Raises:
        InputError: timm is not installed or has no such network or weights, or they would not fit.
        OSError: the weights were not downloaded.
    """
    try:
        import timm
    except ImportError:
        raise InputError(f"--backbone timm:{name} needs the package timm (pip install timm)") from None
    if pretrained:
        _measure(name)  # before anything is downloaded
    try:
        return timm.create_model(name, pretrained=pretrained)
    except RuntimeError as error:
        raise InputError(f"timm:{name}: {first_line(error)}") from None


def take_apart(name, network):
    """The parts of a network of `create`, which is used up.

    Returns:
        (list of five stages, dict of what backbones.Backbone wants to know of them, the nn.Linear after the pooling, or
        None where timm's head is another).

    Raises:
        InputError: the network does not fit; says why.
    """
    known = _measure(name)
    stages = _stages(network)
    _to_stride_16(stages[-1])
    fc = network.get_classifier() if known.pooled else None
    return stages, {"channels": known.channels, "centre": known.centre, "traceable": False}, fc


def _stages(network):
    """Five stages, each nn.Sequential, cut where timm's feature_info says; the last goes on up to the pooling."""
    ends = [info["module"] for info in network.feature_info]
    parts = {}
    for name, child in network.named_children():
        if name in ("global_pool", "head"):
            break
        inner = any(end.startswith(f"{name}.") for end in ends)
        parts |= {f"{name}.{k}": part for k, part in child.named_children()} if inner else {name: child}
    cuts = [list(parts).index(end) + 1 for end in ends]
    cuts[-1] = len(parts)
    if len(cuts) == 4:  # the stem is a stage of its own
        cuts.insert(0, cuts[0] - 1)
    modules = list(parts.values())
    return [nn.Sequential(*modules[start:end]) for start, end in zip([0, *cuts], cuts, strict=False)]


class _Unstrided(nn.Module):
    """A 2x2 layer of stride 2 at stride 1: the mean of its outputs before and after each cell, so that none moves."""

    def __init__(self, layer):
        super().__init__()
        layer.stride = 1
        self.layer = layer

    def forward(self, x):
        return F.avg_pool2d(self.layer(F.pad(x, (1, 1, 1, 1), mode="replicate")), 2, 1)


def _to_stride_16(stage):
    """Take the stride out of a stage, as our own backbones do."""
    for name, layer in list(stage.named_modules()):
        if getattr(layer, "stride", None) in (2, (2, 2)) and hasattr(layer, "kernel_size"):
            if layer.kernel_size in (2, (2, 2)):
                stage.set_submodule(name, _Unstrided(layer))
            else:
                layer.stride = (1, 1)


@functools.cache
@torch.inference_mode(False)  # it needs gradients, whoever asks first
def _measure(name):
    """What holds for every network of this name, measured on one with random weights.

    Returns:
        SimpleNamespace of channels (of the five stages), centre (of maps.upsample) and pooled (a linear layer follows
        the pooling of the last stage).

    Raises:
        InputError: the network does not fit.
    """
    unfit = f"timm:{name} cannot be a backbone here: "
    with torch.random.fork_rng(devices=[]):  # it is measured on the CPU
        torch.manual_seed(0)
        network = _symmetric(create(name)).eval()
        photos = torch.randn(1, 3, 1, 1) + 1e-3 * torch.randn(1, 3, SIDE, SIDE)  # one-coloured, but no two pixels equal
    try:
        stages = _stages(network)
        pooled = _is_pooled(network, stages, photos)
        _to_stride_16(stages[-1])
        features = [photos.requires_grad_()]
        for stage in stages:
            features.append(stage(features[-1]))
    except Exception:  # whatever a network of another kind makes of this
        raise InputError(f"{unfit}it is no row of five convolutional stages") from None
    if (network.pretrained_cfg["mean"], network.pretrained_cfg["std"]) != (compute.MEAN, compute.STD):
        raise InputError(f"{unfit}it wants photos normalised otherwise than by ImageNet's mean and deviation")
    strides = tuple(SIDE / feature.shape[-1] for feature in features[2:])
    if strides != STRIDES:
        raise InputError(f"{unfit}its stages have strides {strides}, not {STRIDES}")
    looks = [_first_cell(feature, photos) for feature in features[2:]]
    beside = {c: max(abs(at - c * (s - 1)) for at, s in zip(looks, STRIDES, strict=True)) for c in (0.0, 0.5, 1.0)}
    centre = min(beside, key=beside.get)
    if not beside[centre] <= TOLERANCE:  # nan, too
        places = ", ".join(f"{at:.1f}" for at in looks)
        raise InputError(f"{unfit}the first cells of its stages look at pixels {places}, which no upsampling fits")
    return SimpleNamespace(channels=tuple(feature.shape[1] for feature in features[1:]), centre=centre, pooled=pooled)


def _symmetric(network):
    """Random kernels that equal their mirror images: what a cell sees is then symmetric about where it looks."""
    for name, weight in network.named_parameters():
        if weight.ndim == 1:  # BatchNorm's and layer scale's may start at 0, which would hide a whole branch
            nn.init.constant_(weight, not name.endswith("bias"))
        else:
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        if weight.ndim == 4:
            weight.data = (weight.data + weight.data.flip(-1)) / 2
            weight.data = (weight.data + weight.data.flip(-2)) / 2
    return network


@torch.no_grad()
def _is_pooled(network, stages, photos):
    """Whether a linear layer follows the pooling; ValueError if the stages are not what comes before."""
    last = nn.Sequential(*stages)(photos)
    if len(stages) != 5 or not torch.equal(last, network.forward_features(photos)):
        raise ValueError
    fc = network.get_classifier()
    if not isinstance(fc, nn.Linear) or fc.in_features != last.shape[1]:
        return False
    return torch.allclose(fc(last.mean(dim=(2, 3))), network(photos), rtol=1e-3, atol=1e-4)


def _first_cell(features, photos):
    """The pixel that cell 0 looks at: the centre of what the middle cell sees, less the middle."""
    middle = features.shape[-1] // 2
    (gradient,) = torch.autograd.grad(features[:, ::2, middle, middle].sum(), photos, retain_graph=True)
    seen = gradient.double().square().sum(dim=(0, 1, 2))
    return (seen @ torch.arange(float(SIDE)).double() / seen.sum()).item() - SIDE // 2
