"""Dense CRF (Kraehenbuehl and Koltun, NeurIPS 2011) on the original photo with soft unaries.

Mean field on this project's permutohedral lattice, or, where it is installed, by pydensecrf.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from src import InputError, check_choice, compute
from src.postprocessing.permutohedral import Lattice

BACKENDS = ("lattice", "pydensecrf")
MOST = 1e6  # of each constant
UNSURE = 1e-4  # probabilities stay this far from 0 and 1, whose logarithms are not finite


@dataclass(frozen=True)
class DenseCRF:
    """Constants of the CRF: kernel widths in pixels (sxy) and grey levels (srgb), their weights (compat).

    Args:
        max_side: photos with a longer side are refined at this one, so that widths in pixels suit photos of any size.
        backend: "lattice" runs on the CPU and on CUDA, several photos at once; "pydensecrf" on one core.

    Raises:
        InputError: a width is not above 0, a weight below 0, an unknown backend, or pydensecrf is not installed.
    """

    gaussian_sxy: float = 3
    gaussian_compat: float = 3
    bilateral_sxy: float = 50
    bilateral_srgb: float = 5
    bilateral_compat: float = 10
    iterations: int = 10
    max_side: int = 512
    backend: str = "lattice"

    def __post_init__(self):
        check_choice("crf", self.backend, BACKENDS)
        for name, value in vars(self).items():
            if name.endswith("compat") and not 0 <= value <= MOST:
                raise InputError(f"the dense CRF's {name} is {value}; expected at least 0, at most {MOST:.0e}")
            if not name.endswith(("compat", "backend")) and not 0 < value <= MOST:
                raise InputError(f"the dense CRF's {name} is {value}; expected above 0, at most {MOST:.0e}")
        if self.backend == "pydensecrf":
            _pydensecrf()


def _pydensecrf():
    try:
        from pydensecrf import densecrf  # an optional package, which builds on Python 3.10 to 3.12
    except ImportError:
        raise InputError(
            "--crf pydensecrf needs the package pydensecrf2 (pip install pydensecrf2, Python 3.10 to 3.12); "
            "--crf lattice, the default, needs none and gives the same to rounding"
        ) from None
    return densecrf


@functools.lru_cache(maxsize=4)  # most photos have one of a few sizes
def _positions(sizes, sxy, device):
    """What photos of the same sizes share: pixels' x and y (2, N), number of their photo (N,), lattice of x and y."""
    places = [torch.cartesian_prod(torch.arange(h), torch.arange(w)).flip(1) for h, w in sizes]
    places = torch.cat(places).T.float().to(device)
    group = torch.cat([torch.full((h * w,), k) for k, (h, w) in enumerate(sizes)]).to(device)
    return places, group, Lattice(places / sxy, group)


def refine(images, probabilities, constants):
    """Marginal probabilities of the pet after mean-field inference, of several photos at once.

    Args:
        images: list of uint8 (H, W, 3), the original RGB at its own size, never the normalised tensor.
        probabilities: list of float (H, W) in [0, 1]; their logarithms are the unaries, so confidence is kept.
        constants: a DenseCRF.

    Returns:
        list of float32 (H, W) arrays in [0, 1].
    """
    shapes = [prob.shape for prob in probabilities]
    sizes = [_at_most(constants.max_side, *shape) for shape in shapes]
    images = [_resize(image, *size) for image, size in zip(images, sizes, strict=True)]
    probabilities = [_resize(prob, *size) for prob, size in zip(probabilities, sizes, strict=True)]
    if constants.backend == "pydensecrf":
        found = [_refine_one(image, prob, constants) for image, prob in zip(images, probabilities, strict=True)]
    else:
        found = _refine_on_lattice(images, probabilities, constants)
    return [_resize(prob, *shape) for prob, shape in zip(found, shapes, strict=True)]


def _at_most(side, height, width):
    """Height and width, shrunk alike until neither is over `side`."""
    scale = min(1, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(image, height, width):
    """uint8 (H, W, 3) or float (H, W) at another size, antialiased; the same object where it has that size."""
    if image.shape[:2] == (height, width):
        return image
    image = image if image.ndim == 3 else image.astype(np.float32)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


@torch.inference_mode()
def _refine_on_lattice(images, probabilities, constants):
    """With two labels the labels' messages mirror each other, so one filter a kernel and iteration is enough.

    Agrees with pydensecrf (Potts compatibility, symmetric normalisation) to rounding.
    """
    sizes = tuple(image.shape[:2] for image in images)
    where = compute.device() if compute.device().type == "cuda" else torch.device("cpu")  # MPS has no sparse matrices
    places, group, near = _positions(sizes, constants.gaussian_sxy, where)
    colours = torch.cat([torch.from_numpy(np.array(image)).reshape(-1, 3) for image in images]).T.float().to(places)
    alike = Lattice(torch.cat([places / constants.bilateral_sxy, colours / constants.bilateral_srgb]), group)
    kernels = ((constants.gaussian_compat, near), (constants.bilateral_compat, alike))
    pet = torch.cat([torch.from_numpy(np.asarray(p, np.float32)).flatten() for p in probabilities]).to(places)
    pet = pet.clamp(UNSURE, 1 - UNSURE)
    # The message to the pet less that to the background: w (2 K pet - K 1).
    fixed = pet.logit() - sum(weight * kernel(torch.ones_like(pet)) for weight, kernel in kernels)
    for _ in range(constants.iterations):
        pet = (fixed + sum(2 * weight * kernel(pet) for weight, kernel in kernels)).sigmoid()
    parts = pet.cpu().split([h * w for h, w in sizes])
    return [part.reshape(size).numpy() for part, size in zip(parts, sizes, strict=True)]


def _refine_one(image, prob, constants):
    """The same by pydensecrf's own filter and mean field."""
    height, width = prob.shape
    field = _pydensecrf().DenseCRF2D(width, height, 2)
    pet = np.clip(prob, UNSURE, 1 - UNSURE)
    field.setUnaryEnergy(-np.log(np.stack([1 - pet, pet])).reshape(2, -1).astype(np.float32))
    field.addPairwiseGaussian(sxy=constants.gaussian_sxy, compat=constants.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=constants.bilateral_sxy, srgb=constants.bilateral_srgb, rgbim=np.array(image, order="C"),
        compat=constants.bilateral_compat,
    )  # fmt: skip
    return np.array(field.inference(constants.iterations), np.float32)[1].reshape(height, width)
