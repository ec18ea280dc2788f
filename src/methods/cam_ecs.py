"""CAM+ECS: erased CAM supervision (Sun et al., ECS-Net, ICCV 2021): look, erase what was found, look again.

What the second look adds is taken over where it is confident. The paper publishes no code or constants; delta 0.5 and
theta at the threshold of a CAM's mask are ours: the second look counts where it would be pet by itself.
"""

import torch
import torch.nn.functional as F

from src import compute, maps
from src.methods import cam

STARTS_FROM = "classifier"


def blur(images, factor=16):
    """Blur (N, C, S, S) images by shrinking and enlarging them: a standard deviation of 0.4 to 0.65 factor pixels."""
    side = images.shape[-1]
    small = F.interpolate(images, (max(2, side // factor),) * 2, mode="bilinear", antialias=True)
    return F.interpolate(small, (side, side), mode="bilinear")


def erase(images, cams, *, delta):
    """Blur the pixels where the normalised CAM is over delta.

    Args:
        images: (N, 3, S, S) normalised photos.
        cams: (N, h, w) in [0, 1].
        delta: threshold of "found".

    Returns:
        (N, 3, S, S). The blur is as wide as a cell of the map: fur and eyes go, the overall colour stays.
    """
    found = F.interpolate(cams[:, None], images.shape[-2:], mode="bilinear") > delta
    return torch.where(found, blur(images), images)


def combine(first, second, *, delta, theta):
    """Take over what the second look adds where it is confident (over theta) and outside the erased part.

    Both maps (N, h, w) are scaled by the first one's maximum, so that a second look that finds nothing is not blown
    up to 1.
    """
    return torch.where((second > theta) & (first <= delta), torch.maximum(first, second), first)


def look_twice(maps_of, images, *, delta, theta, first=None):
    """CAM+ECS, (N, h, w) in [0, 1].

    Args:
        maps_of: function, images to (N, h, w) maps before normalisation, of the same class in both looks.
        images: (N, 3, S, S) normalised photos.
        first: the first look's maps before normalisation, if they are known already.
    """
    first = maps_of(images) if first is None else first
    top = maps.maximum(first)
    first = maps.normalise(first, top)
    second = maps.normalise(maps_of(erase(images, first, delta=delta)), top)
    return combine(first, second, delta=delta, theta=theta)


def predictor(settings, photos, start, *, scales, delta=0.5, theta=0.15):
    """Photo indices (n,) to the ensembles of both looks (n, S, S) in [0, 1]; see src/methods."""
    model, targets = cam.classifier_and_targets(settings, photos, start)

    @torch.inference_mode()
    def predict(index):
        target_class = compute.to_device(targets[index])
        images = compute.normalise(photos.batch(index))
        look = lambda looked: cam.multi_scale(settings, model, looked, target_class, scales=scales)  # noqa: E731
        return compute.to_numpy(look_twice(look, images, delta=delta, theta=theta))

    return predict
