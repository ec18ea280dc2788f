"""Fast guided filter (He and Sun, arXiv 1505.00996): carries a mask up to a large photo along the photo's own edges."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

RADIUS = 4  # pixels of the small photo over which the mask is linear in the photo's grey
EPS = 1e-3  # of grey in 0..1, squared: edges fainter than its root are smoothed over
STRIP = 256  # rows at a time, so that memory does not grow with the photo


def upsample(prob, small, large):
    """A probability of a small photo at the size of the large one.

    Args:
        prob: float (h, w) in [0, 1].
        small: uint8 (h, w, 3), the photo that it belongs to.
        large: uint8 (H, W, 3), the same photo at a larger size.

    Returns:
        bool (H, W): the probability is over 0.5.
    """
    guide, value = (torch.from_numpy(np.float32(x))[None, None] for x in (_grey(small), prob))
    mean_guide, mean_value = _mean(guide), _mean(value)
    variance = _mean(guide * guide) - mean_guide**2
    slope = (_mean(guide * value) - mean_guide * mean_value) / (variance + EPS)
    slope, offset = _mean(slope), _mean(mean_value - slope * mean_guide)
    height, width = large.shape[:2]
    found = np.empty((height, width), bool)
    images = [Image.fromarray(x[0, 0].numpy()) for x in (slope, offset)]
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        box = (0, top * prob.shape[0] / height, prob.shape[1], bottom * prob.shape[0] / height)
        a, b = (np.asarray(i.resize((width, bottom - top), Image.Resampling.BILINEAR, box)) for i in images)
        found[top:bottom] = a * _grey(large[top:bottom]) + b > 0.5
    return found


def _grey(photo):
    return np.asarray(Image.fromarray(photo).convert("L"), np.float32) / 255


def _mean(x):
    """Mean over the square around each pixel; at the borders over what there is of it."""
    return F.avg_pool2d(x, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)
