"""Dense CRF (Kraehenbuehl and Koltun, NeurIPS 2011) on the original photo with soft unaries."""

from dataclasses import dataclass

import numpy as np

from src.errors import InputError


@dataclass(frozen=True)
class CRF:
    """Constants of the CRF: kernel widths in pixels (sxy) and grey levels (srgb), their weights (compat)."""

    gaussian_sxy: float = 3
    gaussian_compat: float = 3
    bilateral_sxy: float = 50
    bilateral_srgb: float = 5
    bilateral_compat: float = 10
    iterations: int = 10


def available():
    """Raise InputError with the way out where pydensecrf is not installed."""
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError:
        raise InputError("the dense CRF needs pydensecrf2 (Python 3.10 to 3.12): pip install pydensecrf2") from None


def refine(photo, probability, constants):
    """Marginal probability of the pet after mean-field inference.

    Args:
        photo: uint8 (H, W, 3), the original RGB at its own size, never the normalised tensor.
        probability: float (H, W) in [0, 1]; its logarithms are the unaries, so confidence is kept.
        constants: a CRF.

    Returns:
        float32 (H, W) in [0, 1].
    """
    import pydensecrf.densecrf as densecrf

    height, width = probability.shape
    pet = np.clip(probability, 1e-4, 1 - 1e-4).astype(np.float32)
    unary = -np.log(np.stack([1 - pet, pet])).reshape(2, -1)
    field = densecrf.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(np.ascontiguousarray(unary))
    field.addPairwiseGaussian(sxy=constants.gaussian_sxy, compat=constants.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=constants.bilateral_sxy,
        srgb=constants.bilateral_srgb,
        rgbim=np.array(photo, order="C"),  # pydensecrf wants a writable, contiguous array
        compat=constants.bilateral_compat,
    )
    return np.array(field.inference(constants.iterations))[1].reshape(height, width)
