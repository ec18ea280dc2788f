"""Segmentation networks: the U-Net, a U-Net around a pretrained backbone, and torchvision's or smp's by name."""

import textwrap

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from src import InputError, check_choice, checkpoints, compute, maps
from src.models import classifiers

TORCHVISION = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50")
SEGMENTERS = ("unet", "backbone_unet", *TORCHVISION)
CLASSES = 2  # of a mask: background and pet
EARLIER = {"keep": 0.0, "level": 0.5}  # what checkpoints without it were read with


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
        """(N, 3, S, S) normalised photos to logits (N, 2, S, S)."""
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


class BackboneUNet(nn.Module):
    """A U-Net whose way down is a backbone (backbones.Backbone) and whose way up ends at a quarter of the photo's side.

    Args:
        backbone: its last four stages are read, at strides 4, 8, 16 and 16.
        width: channels of the way up.
    """

    def __init__(self, backbone, width=64):
        super().__init__()
        self.backbone = backbone
        self.narrow = nn.ModuleList(_layer(channels, width, 1) for channels in backbone.channels[1:])
        self.merge = nn.ModuleList(_layer(2 * width, width, 3) for _ in backbone.channels[2:])
        self.score = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x):
        """(N, 3, S, S) normalised photos to logits (N, 2, S, S)."""
        *skips, y = (narrow(stage) for narrow, stage in zip(self.narrow, self.backbone.pyramid(x)[1:], strict=True))
        for merge, skip in zip(self.merge, reversed(skips), strict=True):
            same = y.shape == skip.shape
            y = merge(torch.cat([skip, y if same else maps.upsample(y, skip.shape[-1], self.backbone.centre)], dim=1))
        return maps.upsample(self.score(y), x.shape[-1], self.backbone.centre)


def _layer(inputs, outputs, kernel):
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(True))


class _OutOnly(nn.Module):
    """torchvision's segmenters return a dict; this returns its "out"."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


class _Padded(nn.Module):
    """A network of segmentation_models_pytorch, which wants sides that are multiples of 32; ours are of 16."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        height, width = x.shape[-2:]
        return self.network(F.pad(x, (0, -width % 32, 0, -height % 32), mode="replicate"))[..., :height, :width]


def _smp(name, weights=None):
    """The network of a name "smp:ARCHITECTURE:ENCODER"; weights "imagenet" are those of its encoder.

    Raises:
        InputError: the package, the name or the weights cannot be had, or the network does not give a photo's size.
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        package = "segmentation_models_pytorch"
        raise InputError(f"--segmenter {name} needs the package {package} (pip install {package})") from None
    _, architecture, encoder, *rest = f"{name}::".split(":")
    if any(rest):
        raise InputError(f"{name}: expected smp:ARCHITECTURE:ENCODER")
    try:
        network = _Padded(smp.create_model(architecture, encoder, weights, classes=CLASSES)).eval()
        with torch.no_grad():
            fits = network(torch.zeros(1, 3, 128, 144)).shape == (1, CLASSES, 128, 144)
    except OSError as error:
        raise InputError(f"the ImageNet weights for {name} were not downloaded ({error})") from None
    except Exception as error:  # of half a dozen types, for a name or a size that it does not take
        raise InputError(textwrap.shorten(f"{name}: {error}", 200, placeholder="...")) from None
    if not fits:
        raise InputError(f"{name} does not give logits of a photo's size")
    return network.train()


def check_name(name):
    """Raise InputError unless there is a segmenter of this name."""
    if name.startswith("smp:"):
        _smp(name)
    else:
        check_choice("segmenter", name, (*SEGMENTERS, "smp:ARCHITECTURE:ENCODER"))


def untrained(name, backbone):
    """A segmenter by name, with random weights; `backbone` names that of "backbone_unet".

    Raises:
        InputError: unknown name.
    """
    if name.startswith("smp:"):
        return _smp(name)
    check_name(name)
    if name == "unet":
        return UNet()
    if name == "backbone_unet":
        return BackboneUNet(classifiers.untrained(backbone, CLASSES).backbone)
    return _OutOnly(torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES))


def initial(name, settings):
    """A segmenter to train: around the network of --backbone and --weights, or another's, from ImageNet if asked.

    Raises:
        InputError: unknown name, or weights that cannot be had.
    """
    if name == "backbone_unet":
        return BackboneUNet(classifiers.pretrained(settings).backbone)
    if name.startswith("smp:"):
        return _smp(name, "imagenet" if settings.weights == "imagenet" else None)
    if name in TORCHVISION and settings.weights == "imagenet":
        with checkpoints.downloading(name):
            network = torchvision.models.get_model(
                name, weights=None, weights_backbone="IMAGENET1K_V1", num_classes=CLASSES
            )
        return _OutOnly(network)
    return untrained(name, settings.backbone)


def checkpoint(model, name, settings, size, reading):
    """The plain dict from which `load` rebuilds a segmenter.

    Args:
        size: side in pixels that it was trained at.
        reading: how masks are made with it, of postprocessing.finishing.reading.
    """
    return {
        "network": "segmenter",
        "segmenter": name,
        "backbone": settings.backbone,
        "size": size,
        "reading": reading,
        "state": model.state_dict(),
    }


def load(path):
    """Rebuild a segmenter: (model, side of the photos it was trained at, how masks are made with it).

    Raises:
        InputError: the file is missing, or holds no segmenter.
    """
    saved = checkpoints.read_network(path, "segmenter", segmenter=str, size=is_side, reading=_is_reading)
    model = untrained(saved["segmenter"], saved["backbone"])
    checkpoints.fill(model, saved["state"], path)
    return model, saved["size"], EARLIER | saved["reading"]


def is_side(value):
    """Whether a stranger's checkpoint has a side in pixels that a network can see."""
    return type(value) is int and 16 <= value <= 4096


def _is_reading(value):
    """Whether a stranger's checkpoint has what postprocessing.finishing.reading makes."""
    if not isinstance(value, dict) or not {"scales", "crf", "dilation"} <= value.keys():
        return False
    value = EARLIER | value
    scales, crf, shares = value["scales"], value["crf"], [value[name] for name in ("keep", "level", "dilation")]
    if not isinstance(scales, list) or not scales or not isinstance(crf, (dict, type(None))):
        return False
    return (
        all(type(n) in (int, float) for n in [*scales, *shares])
        and all(0.1 <= n <= 8 for n in scales)
        and all(0 <= n <= 1 for n in shares)
        and value["dilation"] <= 0.5
    )


@torch.inference_mode()
def probabilities(settings, networks, images, size, *, scales, flip=True):
    """Probability of the pet, averaged over networks, scales (factors of size) and, with flip, mirror images.

    Args:
        images: uint8 or float (N, 3, S, S) photos, 0..255.

    Returns:
        float32 array (N, size, size) in [0, 1].
    """
    batch, total = compute.to_device(images).float(), 0
    for scale in scales:
        side = maps.scaled_side(size, scale)
        scaled = compute.normalise(F.interpolate(batch, (side, side), mode="bilinear", antialias=True))
        for network in networks:
            with compute.autocast(settings):
                logits = torch.stack([network(scaled)] + ([network(scaled.flip(-1)).flip(-1)] if flip else []))
            mean = logits.float().softmax(2)[:, :, 1].mean(0)
            total = total + F.interpolate(mean[:, None], (size, size), mode="bilinear")[:, 0]
    return compute.to_numpy(total / (len(scales) * len(networks)))


def predictor(settings, photos, networks, size, *, scales=(1.0,)):
    """Photo indices (n,) to the `probabilities` (n, size, size) of these photos."""
    return lambda index: probabilities(settings, networks, photos.batch(index), size, scales=scales)
