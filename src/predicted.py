"""The files that predict.py writes: masks, overlays, cut-outs and heat maps of photos from anywhere."""

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from src import InputError, check_choice, compute, count_of, data, files, manifest, metrics, prediction
from src.data import decoding, folders
from src.postprocessing import masks
from src.report import page, pictures

LONGEST = 255  # bytes of a file's name on Linux


def photos_in(inputs, out):
    """Photos of files and folders (subfolders included), and where their masks go.

    Photos keep their place below the folder they were found in, and its name where there are several folders. Where two
    differ in their suffix alone, they keep it.

    Args:
        inputs: paths. out: folder; what is written below it is left out of them.

    Returns:
        dict name of the mask, without suffix -> path of the photo.

    Raises:
        InputError: an input is missing, there is no photo, two photos would write the same mask, or a mask's name would
            be too long.
    """
    found, several = [], len({files.resolved(path) for path in inputs if path.is_dir()}) > 1
    written = {out / name for name in manifest.WRITTEN}
    for path in inputs:
        if path.is_dir():
            below = [p for p in sorted(folders.photos_below(path)) if not written & {*files.resolved(p).parents}]
            below = _without_truths(path, below)
            found += [(Path(files.resolved(path).name if several else "") / p.relative_to(path), p) for p in below]
        elif path.is_file():
            found.append((Path(path.name), path))
        else:
            raise InputError(f"no such photo or folder: {path}")
    seen, once = set(), {}  # photos that are found in two ways; two links to one file are two photos
    for name, path in found:
        place = os.path.abspath(path)
        if place not in seen:
            seen.add(place)
            once.setdefault((name, files.resolved(path)), path)
    stems, names = Counter(name.with_suffix("") for name, _ in once), {}
    for (name, _), path in once.items():
        key = str(name if stems[name.with_suffix("")] > 1 else name.with_suffix(""))
        if names.setdefault(key, path) != path:
            raise InputError(f"{names[key]} and {path} would write the same mask; give their folders, or another --out")
    if not names:
        raise InputError(f"no photos in {', '.join(map(str, inputs))}")
    above = {str(parent) for name in names for parent in Path(name).parents}
    for name, path in names.items():
        too_long = sys.platform == "linux" and len(os.fsencode(Path(name).name)) + len(".png") > LONGEST
        if too_long or above & {f"{name}.png", f"{name}.jpg"}:
            raise InputError(f"no file can have the name of {path}'s mask; rename it")
    return names


def _without_truths(root, photos):
    """The photos of a folder but for those that are the masks of others, as below the masks/ of a data root."""
    others = {path.stem for path in photos if path.relative_to(root).parts[0] != "masks"}
    below = {path for path in photos if path.relative_to(root).parts[0] == "masks" and path.suffix.lower() == ".png"}
    truths = {path for path in below if path.stem in others}
    if truths:
        print(f"left out {count_of(truths, 'mask')} in {root / 'masks'}", file=sys.stderr, flush=True)
    return [path for path in photos if path not in truths]


def can_be_shown(photos, out):
    """Those of the photos that have no mask in `out` yet, or can be opened; others, gone since, are named on stderr."""

    def one(name):
        try:
            return not (out / "masks" / f"{name}.png").is_file() or decoding.upright_size(photos[name])
        except InputError as error:
            return _leave_out(error)

    with compute.threads() as pool:
        return {name: photos[name] for name, there in zip(photos, pool.map(one, photos), strict=True) if there}


def write_masks(segmenter, photos, out, recogniser=None, *, with_pictures=True, with_maps=False, batch_size=16):
    """Write the mask of each photo at its own size and, with_pictures, an overlay and a cut-out; see `_in_batches`.

    Args:
        segmenter: a Segmenter. photos: dict of `photos_in`. out: Path of the folder to write into.
        recogniser: a Recogniser, or None. with_maps: also write the small maps of src/report/page.

    Yields:
        dict for each photo that is done: photo, mask, size (width, height), area (share of the photo), box (left, top,
        right, bottom; None without subject) and certainty (see `metrics.certainty`); with a recogniser class and score.
    """

    def look(some):
        kinds = recogniser(some) if recogniser else [None] * len(some)
        return zip(segmenter.probabilities(some), kinds, strict=True)

    def write(name, photo, found):
        prob, kind = found
        return _write_mask(segmenter, photo, prob, kind, name, photos[name], out, with_pictures, with_maps)

    yield from _in_batches(photos, look, write, batch_size)


def write_heat(recogniser, name, photos, out, *, batch_size=16):
    """Write <out>/cams/<class>/<photo>.jpg, the CAM of a class over each photo; arguments and errors as above."""
    check_choice("class", name, recogniser.classes)

    def write(photo_name, photo, found):
        heat, score = found
        path = out / "cams" / name / f"{photo_name}.jpg"
        pictures.save_heat(path, photo, heat)
        return {"photo": str(photos[photo_name]), "cam": str(path), "class": name, "score": round(score, 4)}

    yield from _in_batches(photos, lambda some: recogniser.heat(some, name), write, batch_size)


def _in_batches(photos, look, write, batch_size):
    """Yield what `write(name, photo, found)` gives for each photo, `found` being what `look` makes of a list of photos.

    Decoding and writing overlap with the network; memory holds three batches, whatever the number of photos. A photo
    that cannot be read is named on stderr and passed over.
    """
    names = data.chunks(np.array(list(photos), dtype=object), batch_size)
    with compute.threads() as pool:
        reading, writing = [pool.submit(_read, photos[name]) for name in names[0]] if names else [], []
        for k, some in enumerate(names):
            read = [future.result() for future in reading]
            reading = [pool.submit(_read, photos[name]) for name in names[k + 1]] if k + 1 < len(names) else []
            good = [(name, photo) for name, photo in zip(some, read, strict=True) if photo is not None]
            found = look([photo for _, photo in good]) if good else []
            yield from _results(writing)
            writing = [pool.submit(write, name, photo, one) for (name, photo), one in zip(good, found, strict=True)]
        yield from _results(writing)


def _results(futures):
    """What was written; nothing of a photo that has gone meanwhile."""
    for future in futures:
        if (found := future.result()) is not None:
            yield found


def _read(path, max_side=prediction.MAX_SIDE):
    try:
        return decoding.decode(path, max_side=max_side)
    except InputError as error:
        return _leave_out(error)


def _leave_out(error):
    print("left out", " ".join(str(error).splitlines()), file=sys.stderr, flush=True)


def _write_mask(segmenter, photo, prob, kind, name, path, out, with_pictures, with_maps):
    """Finish a photo's mask, unless there is one, and write it last: it tells that the photo is done."""
    place, small = out / "masks" / f"{name}.png", photo
    if max(small.shape) >= prediction.MAX_SIDE:  # it may have been larger
        photo = _read(path, max_side=None)
        if photo is None:
            return None
    height, width = photo.shape[:2]
    there = place.is_file()  # an earlier call has made it; somebody may have corrected it since
    if there:
        mask = masks.read_made(place, (width, height)) == 1
    else:
        mask = prediction.at_size_of(photo, segmenter.finish(small, prob), small)
    sure = round(metrics.certainty(prob, mask), 4)
    overlay, cutout, heat = (out / pattern.format(name) for pattern in manifest.BESIDE.values())
    if with_pictures:
        pictures.save_overlay(overlay, photo, mask)
        pictures.save_cutout(cutout, photo, mask)
    if with_maps:
        pictures.save_map(heat, prob, small.shape[1::-1], page.SIDE, certainty=sure)
    if not there:
        masks.save(place, mask.astype(np.uint8))
        manifest.date_back(place, [overlay, cutout] * with_pictures + [heat] * with_maps)
    found = {
        "photo": str(path), "mask": str(place), "size": [width, height], "area": round(float(mask.mean()), 4),
        "box": metrics.box(mask), "certainty": sure,
    }  # fmt: skip
    return found | ({"class": kind[0], "score": round(kind[1], 4)} if kind else {})
