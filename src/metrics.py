"""The one metric: how a mask agrees with a trimap. Every stage is scored by it."""

import numpy as np
from PIL import Image

PET, BACKGROUND, BORDER = 1, 2, 3  # values of a trimap


def confusion(mask, trimap):
    """Pixel counts of one photo.

    Args:
        mask: bool (H, W), True on the pet.
        trimap: uint8 (H, W) of 1 pet, 2 background, 3 border, at the same size.

    Returns:
        int64 (3, 2): rows pet, background, border of the trimap; columns not predicted, predicted.

    Raises:
        ValueError: sizes differ, or the trimap has other values.
    """
    if mask.shape != trimap.shape:
        raise ValueError(f"mask is {mask.shape}, trimap is {trimap.shape}")
    if trimap.min() < PET or trimap.max() > BORDER:
        raise ValueError(f"trimap values {trimap.min()} to {trimap.max()}, expected 1 to 3")
    index = (trimap.astype(np.int64) - 1) * 2 + mask.astype(np.int64)
    return np.bincount(index.ravel(), minlength=6).reshape(3, 2)


def box(mask):
    """Smallest [left, top, right, bottom] around a bool mask (H, W), the last two exclusive; None if it is empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)] if len(rows) else None


def per_photo_iou(counts, border="pet"):
    """Pet IoU of each photo.

    Args:
        counts: (N, 3, 2) of `confusion`.
        border: "pet" counts the border band as pet, "ignored" leaves it out.

    Returns:
        float (N,) in [0, 1]; 1 where neither mask nor truth has a pixel.
    """
    hit, miss, false = _pet_counts(counts, border)
    union = hit + miss + false
    return np.where(union > 0, hit / np.maximum(union, 1), 1.0)


def summarise(counts):
    """All figures of a set of photos, fractions in 0..1.

    Args:
        counts: (N, 3, 2) of `confusion`, N >= 1.

    Returns:
        dict: pet_iou and pet_dice (means over photos, border = pet), pet_iou_ci95 (percentile bootstrap over photos),
        the same with the border ignored, dataset_iou (pooled pixels, border = pet), miou (mean of the pooled IoU of
        pet and background, border = pet), photos (their number).
    """
    counts = np.asarray(counts)
    figures = {}
    for border, suffix in (("pet", ""), ("ignored", "_border_ignored")):
        iou = per_photo_iou(counts, border)
        figures[f"pet_iou{suffix}"] = float(iou.mean())
        figures[f"pet_dice{suffix}"] = float((2 * iou / (1 + iou)).mean())  # the same as 2 hit / (2 hit + errors)
        figures[f"pet_iou{suffix}_ci95"] = bootstrap(iou)
    hit, miss, false = (float(c.sum()) for c in _pet_counts(counts, "pet"))
    correct_background = float(counts[:, BACKGROUND - 1, 0].sum())
    figures["dataset_iou"] = hit / max(hit + miss + false, 1)
    background_iou = correct_background / max(correct_background + miss + false, 1)
    figures["miou"] = (figures["dataset_iou"] + background_iou) / 2
    figures["photos"] = len(counts)
    return figures


def confidence(prob):
    """Mean of the probabilities (any shape) over 0.5: how much a network believes its own mask; 0 of an empty one."""
    subject = prob > 0.5
    return float(prob[subject].mean()) if subject.any() else 0.0


def certainty(prob, mask):
    """How well a mask (H, W) fits the network's own probability (h, w) of the subject, in [0, 1].

    It is their IoU with the minimum and the maximum in place of "and" and "or"; of an empty mask, how far from 1 the
    highest probability is. Among several measures it orders masks most like their true IoU (benchmarks/LOG.md).
    """
    mask = Image.fromarray(255 * mask.astype(np.uint8)).resize(prob.shape[::-1], Image.Resampling.BILINEAR)
    mask = np.float32(mask) / 255
    if not mask.any():
        return float(1 - prob.max())
    return float(np.minimum(prob, mask).sum() / np.maximum(prob, mask).sum())


def bootstrap(values, samples=1000, level=0.95):
    """Percentile interval [low, high] of the mean under resampling of the photos; the resampling seed is fixed.

    Of the differences between two sets of masks, photo by photo, it is the paired bootstrap.
    """
    values = np.asarray(values)
    draws = np.random.default_rng(0).integers(0, len(values), (samples, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def _pet_counts(counts, border):
    """hit, miss, false: three (N,) arrays of pet pixels."""
    counts = np.asarray(counts)
    pet, background, band = (counts[:, value - 1] for value in (PET, BACKGROUND, BORDER))
    if border == "pet":
        pet = pet + band
    elif border != "ignored":
        raise ValueError(f"border is 'pet' or 'ignored', not {border!r}")
    return pet[:, 1], pet[:, 0], background[:, 1]
