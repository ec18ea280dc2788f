"""Erased CAM supervision: look, erase what was found, look again, and keep what the second look adds."""

import torch
import torch.nn.functional as F

from src import cam


def blur(photos, factor=16):
    """Blur (N, C, S, S) photos by shrinking and enlarging them: a standard deviation of 0.65 factor pixels."""
    side = photos.shape[-1]
    small = F.interpolate(photos, (max(2, side // factor),) * 2, mode="bilinear", antialias=True)
    return F.interpolate(small, (side, side), mode="bilinear")


def erase(photos, cams, delta):
    """Blur the pixels where the normalised CAM is over delta.

    Args:
        photos: (N, 3, S, S) normalised photos.
        cams: (N, h, w) in [0, 1].
        delta: threshold of "found".

    Returns:
        (N, 3, S, S) photos. The blur is as wide as a cell of the map: fur and eyes go, the overall colour stays.
    """
    found = F.interpolate(cams[:, None], photos.shape[-2:], mode="bilinear") > delta
    return torch.where(found, blur(photos), photos)


def combine(first, second, delta, theta):
    """Take over what the second look adds where it is confident and outside the erased part.

    Both maps (N, h, w) are scaled by the first one's maximum, so that a second look that finds nothing is not blown
    up to 1. Sun et al., ECS-Net, ICCV 2021, publish no code or constants; delta 0.5 and theta at the threshold of a
    CAM's mask are ours: the second look counts where it would be pet by itself.
    """
    return torch.where((second > theta) & (first <= delta), torch.maximum(first, second), first)


def cam_and_ecs(maps_of, photos, delta, theta, first=None):
    """CAM and its ECS ensemble.

    Args:
        maps_of: function, photos to (N, h, w) maps before normalisation, of the same class in both looks.
        photos: (N, 3, S, S) normalised photos.
        first: the first look's maps before normalisation, if they are known already.

    Returns:
        (cam, ecs): two (N, h, w) maps in [0, 1].
    """
    first = maps_of(photos) if first is None else first
    top = cam.maximum(first)
    first = cam.normalise(first, top)
    second = cam.normalise(maps_of(erase(photos, first, delta)), top)
    return first, combine(first, second, delta, theta)
