"""Reading one photo."""

import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from src import InputError

MIN_SIDE = 8  # pixels; a photo narrower than this shows nothing that could be segmented


def decode(path, size=None):
    """A photo as uint8 RGB (H, W, 3), resized to size x size if given. Grey, palette, CMYK and RGBA are converted.

    Raises:
        InputError: not an image, cut off, or under MIN_SIDE pixels on a side; names the file.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # odd EXIF blocks and palettes with transparency do not matter here
            if min(image.size) < MIN_SIDE:
                raise InputError(f"{path.name}: {image.width} x {image.height} pixels is too small")
            image = image.convert("RGB")
            if size:
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.array(image)
    except UnidentifiedImageError:
        raise InputError(f"{path.name}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path.name}: {error}") from None
