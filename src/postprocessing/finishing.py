"""From a probability to the final mask at the photo's own size: dense CRF, where it is believed, and growth."""

from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from src import InputError
from src.postprocessing import boxed, crf


@dataclass(frozen=True)
class Recipe:
    """How a mask is made of a probability.

    Args:
        refine: crf.DenseCRF, or None for no dense CRF.
        dilation: of `dilate`, 0 for none; the last step.
        keep: share of the subject that the dense CRF must leave; where it leaves less, it is not believed.
        level: probability over which a pixel is subject, after `keep`.
    """

    refine: crf.DenseCRF | None = None
    dilation: float = 0.0
    keep: float = 0.0
    level: float = 0.5


def with_and_without_crf(refine):
    """The recipes of a mask stage: masks/ and, with a crf.DenseCRF, masks_crf/."""
    plain = {"masks": Recipe()}
    return plain | {"masks_crf": Recipe(refine)} if refine else plain


def reading(scales, refine=None, dilation=0.0, keep=0.0, level=0.5):
    """How masks are made with a segmenter, a plain dict that travels in its checkpoint.

    Args:
        scales: of the side that it was trained at.
        refine, dilation, keep, level: of `Recipe`.
    """
    refine = refine and asdict(refine)
    return {"scales": list(scales), "crf": refine, "dilation": dilation, "keep": keep, "level": level}


def refinement(reading, backend="lattice"):
    """The crf.DenseCRF of a reading, or None.

    Raises:
        InputError: it has other constants than a DenseCRF, or values that no CRF can have.
    """
    if not reading["crf"]:
        return None
    known = [field.name for field in fields(crf.DenseCRF)]
    for name, value in reading["crf"].items():
        whole = name in ("iterations", "max_side") and type(value) is not int
        if name not in known or whole or (name != "backend" and type(value) not in (int, float)):
            raise InputError(f"the dense CRF of the checkpoint is damaged: {str(name)[:40]} is {str(value)[:40]}")
    return crf.DenseCRF(**reading["crf"] | {"backend": backend})


def recipe_of(reading, backend="lattice", fast=False):
    """The Recipe of a segmenter's final masks; fast leaves out the dense CRF and what depends on it."""
    if fast:
        return Recipe(dilation=reading["dilation"])
    return Recipe(refinement(reading, backend), reading["dilation"], reading["keep"], reading["level"])


def recipes_of(reading, backend):
    """The recipes of a segmenter's masks: masks/, refined masks_crf/ and dilated masks_final/, as far as it has them.

    Args:
        backend: of crf.DenseCRF.
    """
    final = recipe_of(reading, backend)
    found = {"masks": Recipe()}
    if final.refine:
        found["masks_crf"] = replace(final, dilation=0.0)
    return found | ({"masks_final": final} if final.dilation else {})


def dilate(prob, share):
    """Give each pixel of a probability (H, W) the highest within `share` of the longer side, in a square around it."""
    radius = round(share * max(prob.shape))
    values = torch.from_numpy(prob)[None, None]
    for size in ((2 * radius + 1, 1), (1, 2 * radius + 1)):  # a square is a line of lines
        values = F.max_pool2d(values, size, 1, (size[0] // 2, size[1] // 2))
    return values[0, 0].numpy()


def believed(before, after, keep):
    """The probability (H, W) after the dense CRF, or before it where less than `keep` of the subject is left.

    A small or dim subject that the network found can vanish in the dense CRF as a whole.
    """
    return before if np.sum(after > 0.5) < keep * np.sum(before > 0.5) else after


def refined(images, probabilities, recipes):
    """Probabilities at the size of their images, after each recipe's steps; a pixel over 0.5 is subject.

    Args:
        images: list of uint8 (H, W, 3). probabilities: list of float (S, S). recipes: dict name -> Recipe.

    Returns:
        dict name -> list of float32 (H, W). What recipes share is computed once.
    """
    full = []
    for image, prob in zip(images, probabilities, strict=True):
        small = Image.fromarray(prob.astype(np.float32))
        full.append(np.array(small.resize(image.shape[1::-1], Image.Resampling.BILINEAR)))
    found, after_crf = {}, {None: full}
    for name, recipe in recipes.items():
        if recipe.refine not in after_crf:
            after_crf[recipe.refine] = crf.refine(images, full, recipe.refine)
        some = after_crf[recipe.refine]
        if recipe.keep:
            some = [believed(before, after, recipe.keep) for before, after in zip(full, some, strict=True)]
        if recipe.level != 0.5:
            some = [boxed.divide_odds(prob, recipe.level) for prob in some]
        found[name] = [dilate(prob, recipe.dilation) for prob in some] if recipe.dilation else some
    return found
