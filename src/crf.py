"""Dense CRF (Kraehenbuehl and Koltun, NeurIPS 2011) on the original photo with soft unaries."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from src import compute
from src.permutohedral import Lattice


@dataclass(frozen=True)
class CRF:
    """Constants of the CRF: kernel widths in pixels (sxy) and grey levels (srgb), their weights (compat)."""

    gaussian_sxy: float = 3
    gaussian_compat: float = 3
    bilateral_sxy: float = 50
    bilateral_srgb: float = 5
    bilateral_compat: float = 10
    iterations: int = 10


@functools.lru_cache(maxsize=4)  # most photos have one of a few sizes
def _positions(sizes, sxy, device):
    """What photos of the same sizes share: pixels' x and y (2, N), number of their photo (N,), lattice of x and y."""
    places = [torch.cartesian_prod(torch.arange(h), torch.arange(w)).flip(1) for h, w in sizes]
    places = torch.cat(places).T.float().to(device)
    group = torch.cat([torch.full((h * w,), k) for k, (h, w) in enumerate(sizes)]).to(device)
    return places, group, Lattice(places / sxy, group)


@torch.inference_mode()
def refine(photos, probabilities, constants):
    """Marginal probabilities of the pet after mean-field inference, of several photos at once.

    With two labels the labels' messages mirror each other, so one filter a kernel and iteration is enough. Agrees with
    pydensecrf (Potts compatibility, symmetric normalisation) to rounding.

    Args:
        photos: list of uint8 (H, W, 3), the original RGB at its own size, never the normalised tensor.
        probabilities: list of float (H, W) in [0, 1]; their logarithms are the unaries, so confidence is kept.
        constants: a CRF.

    Returns:
        list of float32 (H, W) arrays in [0, 1].
    """
    sizes = tuple(photo.shape[:2] for photo in photos)
    places, group, near = _positions(sizes, constants.gaussian_sxy, compute.device())
    colours = torch.cat([torch.from_numpy(np.array(photo)).reshape(-1, 3) for photo in photos]).T.float().to(places)
    alike = Lattice(torch.cat([places / constants.bilateral_sxy, colours / constants.bilateral_srgb]), group)
    kernels = ((constants.gaussian_compat, near), (constants.bilateral_compat, alike))
    pet = torch.cat([torch.from_numpy(np.asarray(p, np.float32)).flatten() for p in probabilities]).to(places)
    pet = pet.clamp(1e-4, 1 - 1e-4)
    # The message to the pet less that to the background: w (2 K pet - K 1).
    fixed = pet.logit() - sum(weight * kernel(torch.ones_like(pet)) for weight, kernel in kernels)
    for _ in range(constants.iterations):
        pet = (fixed + sum(2 * weight * kernel(pet) for weight, kernel in kernels)).sigmoid()
    parts = pet.cpu().split([h * w for h, w in sizes])
    return [part.reshape(size).numpy() for part, size in zip(parts, sizes, strict=True)]
