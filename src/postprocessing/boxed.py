"""Masks that fit bounding boxes: nothing outside, and doubt where only a mask that touches all sides would be.

A tight box says where the subject ends: its mask touches all four sides (Lempitsky, Kohli, Rother and Sharp, Image
Segmentation with a Bounding Box Prior, ICCV 2009). Boxes are arrays (K, 4) of left, top, right, bottom, fractions.
"""

import numpy as np

TIGHT = 0.05  # of a box's side: so near to each side the mask must come
MARGIN = 0.02  # of the photo's sides, by which a mask may leave its box: boxes are drawn by hand
LOWEST = 0.1  # probability that may still become subject so that the box is filled


def windows(boxes, shape, margin=0.0):
    """Slices (rows, columns) of the pixels of each box in an array (H, W); at least one pixel."""
    size = np.array([shape[1], shape[0]] * 2)
    edges = (np.asarray(boxes) + [-margin, -margin, margin, margin]).clip(0, 1) * size
    for left, top, right, bottom in np.round(edges).astype(int):
        left, top = min(left, shape[1] - 1), min(top, shape[0] - 1)
        yield slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def confine(prob, boxes, margin=0.0):
    """A probability (H, W), set to 0 outside its boxes; itself where those are None."""
    if boxes is None:
        return prob
    confined = np.zeros_like(prob)
    for window in windows(boxes, prob.shape, margin):
        confined[window] = prob[window]
    return confined


def reach(prob):
    """Lowest of the highest probabilities near the four sides of an array (h, w): the level that touches all sides."""
    rows, columns = (max(1, round(TIGHT * side)) for side in prob.shape)
    return min(side.max() for side in (prob[:rows], prob[-rows:], prob[:, :columns], prob[:, -columns:]))


def divide_odds(prob, level):
    """Divide the odds of a probability (any shape) by those of a level in it, which becomes 0.5."""
    raised = prob * (1 - level)
    return raised / np.maximum(raised + (1 - prob) * level, 1e-12)


def fill(prob, boxes):
    """Raise a probability (H, W) until the mask over 0.5 touches all sides of each box, and set it to 0 outside.

    The odds in a box are divided by those of the level that touches its sides, if that lies in LOWEST .. 0.5.
    """
    filled = np.zeros_like(prob)
    for window in windows(boxes, prob.shape):
        level = np.clip(reach(prob[window]), LOWEST, 0.5)
        filled[window] = np.maximum(filled[window], divide_odds(prob[window], level))
    return filled
