"""Reading one photo."""

import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from src import InputError, files, first_line

try:  # iPhones' HEIC, where the package is installed
    import pillow_heif

    pillow_heif.register_heif_opener()
    READS_HEIC = True
except ImportError:
    READS_HEIC = False

HEIC = {".heic", ".heif"}
ORIENTATION = 0x0112  # a tag of EXIF and TIFF
TURNS = {  # by its value
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
DEPTHS = (255, 1023, 4095, 16383, 65535)  # highest values of 8, 10, 12, 14 and 16 bits
JPEG_SIDE = 65500  # pixels; a JPEG cannot be longer
MIN_SIDE = 8  # pixels; a photo narrower than this shows nothing that could be segmented
# Not photos; EPS would run Ghostscript on whatever the file holds, the others only have stubs or need other programs.
NO_PHOTOS = {"BUFR", "EPS", "FPX", "GRIB", "HDF5", "MIC", "MPEG", "PDF", "WMF"}
Image.init()
# Odd EXIF blocks, palettes with transparency and photos of more than 90 megapixels; what is too large is an error.
warnings.filterwarnings("ignore", module="PIL")
FORMATS = sorted(set(Image.OPEN) - NO_PHOTOS)
MORE_SUFFIXES = {".mpo"}  # two JPEGs in one, of 3D cameras: Pillow reads it, but as JPEG
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS} | MORE_SUFFIXES | HEIC


def is_photo(path):
    """Whether a file's name is that of a photo, in any format that Pillow reads; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def photos_by_stem(folder):
    """dict name without suffix -> path of the photos directly in a folder, in order.

    Raises:
        InputError: two photos differ in their suffix alone, so that a list cannot tell which is meant.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        if is_photo(path) and found.setdefault(path.stem, path) != path:
            raise InputError(f"two photos are named {path.stem}: {found[path.stem].name} and {path.name}; remove one")
    return found


def decode(path, size=None, max_side=None):
    """A photo as uint8 RGB (H, W, 3), turned upright by its EXIF tag.

    Grey, 16-bit, palette, CMYK and RGBA are converted.

    Args:
        size: resize to size x size.
        max_side: or shrink to at most this many pixels on the longer side; a JPEG already while it is read.

    Raises:
        InputError: not an image, cut off, or under MIN_SIDE pixels on a side; names the file.
    """
    try:
        files.check_is_file(path)
        with Image.open(path, formats=FORMATS) as image:
            if min(image.size) < MIN_SIDE:
                raise InputError(f"{path}: {image.width} x {image.height} pixels is too small")
            if max_side:
                image.draft("RGB", (max_side, max_side))
            image = as_rgb(upright(image))
            if max_side:
                image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
            if size:
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.array(image)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {_advice(path) or in_words(error)}") from None


def _advice(path):
    """What a photo needs to be read at all, or nothing."""
    lacks = path.suffix.lower() in HEIC and not READS_HEIC
    return "needs the package pillow-heif (pip install pillow-heif)" if lacks else ""


def upright_size(path):
    """Width and height of a photo as `decode` turns it, without reading its pixels.

    Raises:
        InputError: not an image; names the file.
    """
    try:
        files.check_is_file(path)
        with Image.open(path, formats=FORMATS) as image:
            # orientations that lie on a side; a TIFF's own tag has turned its size already
            turned = ORIENTATION in getattr(image, "tag_v2", ())
            lies = orientation(image) in (5, 6, 7, 8)
            return image.size[::-1] if lies and not turned else image.size
    except Exception as error:
        raise InputError(f"{path}: {_advice(path) or in_words(error)}") from None


def upright(image):
    """A PIL image as its EXIF tag turns it; itself without one, or with a damaged one.

    ImageOps.exif_transpose writes the other tags anew, too, and fails where one of them is odd.
    """
    image.load()  # Pillow turns a TIFF here, and drops its tag; and NumPy would swallow what goes wrong
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image):
    """How EXIF says that an image lies; None without it, or where its block is damaged."""
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:
        return None


def in_words(error):
    """One line for whatever Pillow's forty readers raise for a damaged file: a dozen types, some without a text."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.errno:
        return files.reason(error, files.READING)
    if isinstance(error, MemoryError):
        return "not enough memory for so large a picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"over {2 * Image.MAX_IMAGE_PIXELS // 10**6} megapixels; shrink it first"
    return first_line(error)


def as_rgb(image):
    """An image of any mode as RGB. Pillow would cut greys of more than 8 bits off at 255; they are scaled.

    16 bits often hold the 10 to 14 of a camera, so the depth is the smallest that the image's values fit into.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float32), posinf=0.0, neginf=0.0)
        most = max(float(values.max()), 1)
        if image.mode.startswith("I;16"):
            most = next(depth for depth in DEPTHS if most <= depth)
        image = Image.fromarray((255 * values.clip(0, most) / most).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")
