"""From maps to masks at the photo's own size: threshold, dense CRF, palette PNG, counts."""

import os
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from src import crf, images, metrics
from src.errors import InputError

IGNORE = 255  # value of uncertain pixels in a mask, which training leaves out
PALETTE = {0: (0, 0, 0), 1: (230, 159, 0), IGNORE: (150, 150, 150)}  # Okabe and Ito's orange tells pets for everyone
SHARPNESS = 10  # of the sigmoid that turns a map into a probability
ORACLE = np.linspace(0.05, 0.95, 19)  # thresholds of the diagnostic sweep


def probability(maps, threshold):
    """Maps in [0, 1] to the probability of the pet: sigmoid(10 (map - threshold)), 0.5 on the threshold."""
    return 1 / (1 + np.exp(-SHARPNESS * (maps.astype(np.float32) - threshold)))


def label(prob, ignore_band):
    """Probability (H, W) to labels: 1 over 0.5, else 0, and 255 within ignore_band of 0.5; 0 bands no pixel."""
    labels = (prob > 0.5).astype(np.uint8)
    labels[np.abs(prob - 0.5) < ignore_band] = IGNORE
    return labels


def save(path, labels):
    """Write labels (H, W) as a palette PNG through a temporary file."""
    image = Image.fromarray(labels)
    palette = [0] * 768
    for value, colour in PALETTE.items():
        palette[3 * value : 3 * value + 3] = colour
    image.putpalette(palette)  # turns the grey image into a palette one
    part = f"{path}.part"
    image.save(part, format="PNG", optimize=False)
    os.replace(part, path)


def read(path, size=None):
    """Labels of a mask PNG as uint8 (H, W), resized to (size, size) by nearest neighbour if given."""
    try:
        with Image.open(path) as image:
            return np.array(image.resize((size, size), Image.Resampling.NEAREST) if size else image)
    except OSError as error:
        raise InputError(f"no readable mask {path} ({error})") from None


def read_trimap(path, size=None):
    """A trimap as uint8 (H, W) of 1 pet, 2 background, 3 border. Only for evaluation and training on ground truth."""
    return read(path, size)


def ground_truth(path, size=None):
    """Labels of a trimap: 1 on the pet and its border, 0 elsewhere; uint8, resized if size is given."""
    return (read_trimap(path, size) != metrics.BACKGROUND).astype(np.uint8)


@dataclass(frozen=True)
class Recipe:
    """How a mask is made of a map.

    Args:
        source: name of the map among those that a predictor makes.
        threshold: of the map; None where it is a probability already.
        refine: crf.CRF, or None for no dense CRF.
        grow: of `grow`, 0 for none; after the CRF.
    """

    source: str
    threshold: float | None = None
    refine: crf.CRF | None = None
    grow: float = 0.0


def grow(prob, share):
    """Give each pixel of a probability (H, W) the highest within `share` of the longer side, in a square around it."""
    radius = round(share * max(prob.shape))
    values = torch.from_numpy(prob)[None, None]
    for size in ((2 * radius + 1, 1), (1, 2 * radius + 1)):  # a square is a line of lines
        values = F.max_pool2d(values, size, 1, (size[0] // 2, size[1] // 2))
    return values[0, 0].numpy()


def finish(items, recipe, ignore_band, sweep):
    """Probabilities to the photos' own size, CRF, growth, PNG, and pixel counts at 0.5 and over the sweep.

    Args:
        items: list of (photo's path, trimap's path or None, probability (S, S), path of the mask to write).
        recipe: a Recipe; its source and threshold are done with.
        ignore_band: of `label`.
        sweep: rising thresholds, or None.

    Returns:
        list of (metrics.confusion, metrics.sweep or None), both None without a trimap.
    """
    photos = [images.decode(photo_path) for photo_path, *_ in items]
    full = []
    for photo, (_, _, prob, _) in zip(photos, items, strict=True):
        image = Image.fromarray(prob.astype(np.float32))
        full.append(np.array(image.resize(photo.shape[1::-1], Image.Resampling.BILINEAR)))
    if recipe.refine is not None:
        full = crf.refine(photos, full, recipe.refine)
    if recipe.grow:
        full = [grow(prob, recipe.grow) for prob in full]
    found = []
    for prob, (_, trimap_path, _, mask_path) in zip(full, items, strict=True):
        save(mask_path, label(prob, ignore_band))
        found.append((None, None) if trimap_path is None else _count(prob, trimap_path, sweep))
    return found


def _count(prob, trimap_path, sweep):
    trimap = read_trimap(trimap_path)
    if trimap.shape != prob.shape:
        raise InputError(f"{trimap_path.name}: trimap is {trimap.shape}, its photo {prob.shape}")
    swept = None if sweep is None else metrics.sweep(prob, trimap, sweep)
    return metrics.confusion(prob > 0.5, trimap), swept
