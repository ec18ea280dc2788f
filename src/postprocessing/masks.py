"""Masks as files: maps to labels at the photo's own size, palette PNGs, and the trimaps of the ground truth."""

import io
import math
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from src import InputError, compute, data, distributed, few, files, metrics
from src.data.decoding import FORMATS, decode, in_words, upright, upright_size
from src.postprocessing import boxed, finishing

IGNORE = 255  # uncertain pixels of a mask: training leaves them out, scores count background, pictures show grey
LABELS = {0: "background", 1: "pet", IGNORE: "uncertain"}
TRIMAP = {metrics.PET: "pet", metrics.BACKGROUND: "background", metrics.BORDER: "border"}
PALETTE = {0: (0, 0, 0), 1: (230, 159, 0), IGNORE: (150, 150, 150)}  # Okabe and Ito's orange tells pets for everyone
BLACK_WHITE = [0] * 3 + [255] * 3, [255] * 3 + [0] * 3  # how palettes of two colours begin
PIXELS = 1 << 26  # of all photos that are worked on at once, whatever the cores: a few GB
MOST_CLASSES = 16  # in one mask; soft edges have more levels of grey
SHARPNESS = 10  # of the sigmoid that turns a map into a probability


def probability(maps, threshold):
    """Maps in [0, 1] to the probability of the pet: sigmoid(10 (map - threshold)), 0.5 on the threshold."""
    return 1 / (1 + np.exp(-SHARPNESS * (maps.astype(np.float32) - threshold)))


def label(prob, ignore_band):
    """Probability (H, W) to labels: 1 over 0.5, else 0, and 255 within ignore_band of 0.5; 0 bands no pixel."""
    labels = (prob > 0.5).astype(np.uint8)
    labels[np.abs(prob - 0.5) < ignore_band] = IGNORE
    return labels


def save(path, labels, palette=PALETTE, flush=True):
    """Write labels (H, W) as a palette PNG; `flush` and errors are those of files.writing."""
    image = Image.fromarray(labels)
    colours = [0] * 768
    for value, colour in palette.items():
        colours[3 * value : 3 * value + 3] = colour
    image.putpalette(colours)  # turns the grey image into a palette one
    with files.writing(path, flush=flush) as file:
        image.save(file, format="PNG", optimize=False)


def read(path, size=None, values=None, monochrome=False):
    """Labels of a mask PNG as uint8 (H, W), resized to (size, size) by nearest neighbour if given.

    Args:
        values: dict of the values that it may hold -> what they mean; None for any.
        monochrome: a palette of black and white means 0 and 255, in whichever order it has them; so do greys, cut in
            the middle, whose edges are soft.

    Raises:
        InputError: no mask, of several channels, or with another value.
    """
    try:
        files.check_is_file(path)
        content = io.BytesIO(Path(path).read_bytes())
        Image.open(content, formats=FORMATS).verify()  # its checksums, which reading does not look at
        with Image.open(content, formats=FORMATS) as image:
            _check_channels(path, image)
            image = upright(image)
            if monochrome and image.mode == "P" and _is_black_white(image):
                image = image.convert("L")
            found = np.array(image)
            if monochrome and image.mode != "P" and _is_soft(found):
                found = np.where(found > 127, 255, 0).astype(np.uint8)
            if size:
                found = np.array(Image.fromarray(found).resize((size, size), Image.Resampling.NEAREST))
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise a dozen types for damaged files
        raise InputError(f"no readable mask {path} ({in_words(error)})") from None
    strangers = [] if values is None else sorted(set(np.unique(found).tolist()) - values.keys())
    if strangers:
        meaning = ", ".join(f"{value} {words}" for value, words in values.items())
        raise InputError(f"the mask {path} holds {few(list(map(str, strangers)))}; expected {meaning}")
    return found


def read_made(path, size=None):
    """Labels of a mask that the project made and somebody may have corrected since, as uint8 (H, W).

    Editors save black and white: without other values, 255 is the subject in such a mask, and not uncertain.

    Args:
        size: (width, height) of its photo, where that is to be checked.

    Raises:
        InputError: no mask, of another size, or of other values than 0 background, 1 subject, 255 uncertain.
    """
    found = read(path, values=LABELS, monochrome=True)
    if size and found.shape[::-1] != tuple(size):
        shown = " x ".join(map(str, found.shape[::-1]))
        raise InputError(f"{path} is {shown} pixels, not {size[0]} x {size[1]} as its photo; delete and remake it")
    return (found == IGNORE if is_white_on_black(path, found) else found).astype(np.uint8)


def is_white_on_black(path, found):
    """Whether labels that were read from this file have no pet, and 255 in black and white: there it is the subject."""
    if np.any(found == 1) or not np.any(found == IGNORE):
        return False
    with Image.open(path, formats=FORMATS) as image:
        return _is_black_white(image)


def _is_black_white(image):
    """Whether an open mask has greys, or a palette of black and white."""
    return image.mode != "P" or image.getpalette()[:6] in BLACK_WHITE


def _check_channels(path, image):
    if len(image.getbands()) > 1:
        raise InputError(f"the mask {path} is {image.mode}; expected one channel, palette or grey")


def _is_soft(values):
    """Whether greys (H, W) are black and white with blurred edges, and not classes with unsure pixels of 255.

    Edges have levels that are too high or too many for classes. They also have fewer pixels than what is white, or, of
    thin subjects, pixels that differ from their neighbours, where classes and numbered objects lie in patches.
    """
    grey = (values > 0) & (values < IGNORE)
    levels = np.unique(values[grey])
    if values.dtype != np.uint8 or not len(levels) or (levels[-1] <= 127 and len(levels) <= MOST_CLASSES):
        return False
    alike = (values[:-1, :-1] == values[1:, :-1]) & (values[:-1, :-1] == values[:-1, 1:])
    return bool(grey.sum() < np.sum(values == IGNORE) or np.sum(alike & grey[:-1, :-1]) < grey.sum() / 2)


def read_trimap(photos, i, size=None):
    """The ground truth of photo i as uint8 (H, W) of 1 pet, 2 background, 3 border (not sure).

    A mask that is no trimap has its subjects above 0; 255 is not sure, or the subject where there is no other value.
    Only for evaluation and training on ground truth.
    """
    if not photos.truths[i]:
        raise InputError(f"the photo {photos.names[i]} has no ground truth")
    if photos.trimaps:
        return read(photos.truths[i], size, TRIMAP)
    found = read(photos.truths[i], size, monochrome=True)
    binary = not np.any((found > 0) & (found < IGNORE))
    truth = np.where(found > 0, metrics.PET, metrics.BACKGROUND).astype(np.uint8)
    if not binary:
        truth[found == IGNORE] = metrics.BORDER
    return truth


def check_truths(photos):
    """Compare the sizes of photos and ground truths by their headers: no value is read before evaluation.

    Raises:
        InputError: a ground truth is no picture, of several channels, or of another size than its photo.
    """
    for i in photos.with_truth(range(len(photos.names))):
        (width, height), size = upright_size(photos.truths[i]), upright_size(photos.paths[i])
        with Image.open(photos.truths[i], formats=FORMATS) as image:
            _check_channels(photos.truths[i], image)
        if (width, height) != size:
            raise InputError(f"the mask {photos.truths[i]} is {width} x {height}, its photo {size[0]} x {size[1]}")


def ground_truth(photos, i, size=None):
    """Labels of photo i's ground truth: 1 on the pet and its border, 0 elsewhere; uint8, resized if size is given."""
    return (read_trimap(photos, i, size) != metrics.BACKGROUND).astype(np.uint8)


def from_folder(photos, folder, size):
    """Function, photo index to its mask in a folder, uint8 (size, size): what a segmenter learns from."""

    def mask_of(i):
        found = Image.fromarray(read_made(folder / f"{photos.names[i]}.png"))
        return np.array(found.resize((size, size), Image.Resampling.NEAREST))

    return mask_of


def from_trimaps(photos, size):
    """The same of the ground truth; errors of `check_truths`."""
    check_truths(photos)
    return lambda i: ground_truth(photos, i, size)


def finish(items, path, recipes, ignore_band):
    """Probabilities to the photos' own size, CRF, dilation, PNG.

    With boxes nothing is left outside. Where masks have an `ignore_band`, to be learned from, pixels are uncertain too
    that are subject only if the boxes are filled.

    Args:
        items: list of (photo's path, name of the mask, probability (S, S), its boxes or None).
        path, recipes, ignore_band: of `write`.
    """
    photo_paths, names, probabilities, boxes = zip(*items, strict=True)
    images = [decode(photo) for photo in photo_paths]
    inside = [boxed.confine(prob, some) for prob, some in zip(probabilities, boxes, strict=True)]
    twice = [k for k, some in enumerate(boxes) if ignore_band and some is not None]
    filled = [boxed.fill(probabilities[k], boxes[k]) for k in twice]
    made = finishing.refined(images + [images[k] for k in twice], inside + filled, recipes)
    for folder, full in made.items():
        upper = dict(zip(twice, full[len(items) :], strict=True))
        for k, name in enumerate(names):
            labels = label(boxed.confine(full[k], boxes[k], boxed.MARGIN), ignore_band)
            if k in upper:
                doubtful = label(boxed.confine(upper[k], boxes[k], boxed.MARGIN), ignore_band) > 0
                labels[(labels == 0) & doubtful] = IGNORE
            save(path / folder / f"{name}.png", labels, flush=False)  # Run.finish does


def write(path, photos, predict, recipes, *, threshold=None, ignore_band=0.0, boxes=None, chunk=32):
    """Make and save the masks of all pets, a chunk at a time and at most PIXELS of photos at once.

    Args:
        path: of the run directory; masks go to <path>/<folder>/<name>.png.
        photos: data.PhotoSet.
        predict: a method's predictor, indices (n,) to maps (n, S, S) in [0, 1].
        recipes: dict folder -> finishing.Recipe.
        threshold: of the maps; None where they are probabilities already.
        ignore_band: half-width in probability of the band that is saved as 255.
        boxes: dict photo's index -> its boxes (data.boxes): its mask stays inside, see `finish`.
    """
    boxes = boxes or {}
    for folder in recipes:
        (path / folder).mkdir(exist_ok=True)  # by whichever process comes first
    own = distributed.shard(np.concatenate([photos.test, photos.trainval]))
    bar = compute.progress(title="masks", total=len(own), unit="photo")
    with compute.threads() as pool:
        for some in data.chunks(own, chunk):
            found = predict(some)
            values = found if threshold is None else probability(found, threshold)
            items = [
                (photos.paths[i], photos.names[i], value, boxes.get(i))
                for i, value in zip(some.tolist(), values, strict=True)
            ]
            at_once = max(1, PIXELS // max(math.prod(upright_size(item[0])) for item in items))
            group = min(compute.group_size(), at_once)
            for start in range(0, len(items), at_once):
                part = items[start : start + at_once]
                groups = [part[k : k + group] for k in range(0, len(part), group)]
                list(pool.map(partial(finish, path=path, recipes=recipes, ignore_band=ignore_band), groups))
            bar.update(len(some))
    bar.close()
    distributed.barrier()
