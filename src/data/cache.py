"""Arrays in files, so that memory does not grow with the photos: the decoded photos, and scratch space of a run."""

import hashlib
import itertools
import json
import math
import os
import socket
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src import InputError, compute, count_of, distributed, few, files, locks
from src.data import decoding

SHOWN = 3  # unreadable photos in a message; more are in a file


def decoded(paths, settings):
    """Decode photos once into a memory-mapped array keyed by the files and the size that made it.

    A damaged cache is made again: each photo has a checksum.

    Returns:
        (list of bool: photo is readable, uint8 array (readable photos, 3, S, S), list of the photos' checksums).
    """
    size = settings.image_size
    if not paths:
        return [], np.zeros((0, 3, size, size), np.uint8), []
    key = hashlib.sha256(json.dumps([2, size, [_made_of(path) for path in paths]]).encode()).hexdigest()[:16]
    base = Path(settings.runs_root) / "cache" / key
    shape = (len(paths), 3, size, size)
    lock = locks.Lock(base.with_suffix(".lock"), base, patience=math.inf)  # whoever comes second finds it made
    try:
        if found := _open(base, shape):
            found = _read_again(base, paths, *found)
        else:
            _fill(base, paths, shape, alone=lock.file is not None)
            found = _open(base, shape)
            if found is None:
                raise InputError(f"{base} cannot be read back as it was written; is the disk sound?")
        bad = [error for error in found[1] if error]
        if len(bad) > SHOWN:
            files.write_lines(base.with_suffix(".unreadable.txt"), bad)
    finally:
        lock.release()
    array, errors, sums = found
    if bad:
        text = f"{count_of(bad, 'photo')} of {len(paths)} unreadable: {few(bad, SHOWN)}"
        text += f" (all of them in {base.with_suffix('.unreadable.txt')})" if len(bad) > SHOWN else ""
        if not settings.skip_bad_photos:
            raise InputError(f"{text}; --skip-bad-photos leaves them out")
        print(f"left out {text}", flush=True)
    good = [not error for error in errors]
    return good, array if not bad else _Rows(array, np.flatnonzero(good)), list(itertools.compress(sums, good))


def _made_of(path):
    try:
        found = path.stat()
    except OSError:  # decoding will say what is wrong with it
        return str(path), 0, 0
    return str(path), found.st_size, found.st_mtime_ns


def unread(paths, settings):
    """In place of `decoded` where nobody looks at the photos: all are taken for readable, and there is no array."""
    return [True] * len(paths), [], []


def _open(base, shape):
    """(array, errors, checksums) of a cache; None where there is none, or a damaged one, and says so."""
    array_path, index_path = base.with_suffix(".pixels"), base.with_suffix(".json")
    if not index_path.exists():
        return None
    try:
        index = files.read_json(index_path)
        errors, sums = index["errors"], index["sums"]
        if not len(errors) == len(sums) == len(array := np.memmap(array_path, np.uint8, "r", shape=shape)):
            raise ValueError
        with compute.threads() as pool:
            if list(pool.map(zlib.crc32, array)) != sums:
                raise ValueError
    except (InputError, OSError, KeyError, TypeError, ValueError):
        print(f"the decoded photos in {array_path} are damaged; decoding them again", flush=True)
        return None
    return array, errors, sums


def _decode(array, i, path):
    """Decode a photo into a row; the error as text, empty where it is fine."""
    try:
        array[i] = decoding.decode(path, array.shape[-1]).transpose(2, 0, 1)
        return ""
    except InputError as error:
        return str(error)


def _read_again(base, paths, array, errors, sums):
    """Decode what could not be read before: a permission or a network disk may have come back since."""
    bad = [i for i, error in enumerate(errors) if error]
    if bad:
        pixels = np.memmap(base.with_suffix(".pixels"), np.uint8, "r+", shape=array.shape)
        with compute.threads() as pool:
            for i, error in zip(bad, pool.map(lambda i: _decode(pixels, i, paths[i]), bad), strict=True):
                errors[i], sums[i] = error, zlib.crc32(pixels[i])
        if not all(errors[i] for i in bad):
            pixels.flush()
            files.write_json(base.with_suffix(".json"), {"errors": errors, "sums": sums})
    return array, errors, sums


def _fill(base, paths, shape, alone):
    """Decode in parallel into <base>.pixels; <base>.json has an error text, empty where it is fine, for each photo.

    Args:
        alone: no other process does so now; where disks have no locks, nobody knows.
    """
    part = base.with_suffix(".part" if alone else f".{socket.gethostname()}.{os.getpid()}.part")
    files.reserve(part, math.prod(shape))
    try:
        array = np.memmap(part, np.uint8, "r+", shape=shape)
        with compute.threads() as pool:  # Pillow decodes and resizes outside Python's lock
            found = pool.map(lambda item: _decode(array, *item), enumerate(paths))
            errors = list(tqdm(found, "decoding", len(paths), disable=None, unit="photo"))
            sums = list(pool.map(zlib.crc32, array))
        array.flush()
        os.replace(part, base.with_suffix(".pixels"))
    finally:
        part.unlink(missing_ok=True)
    files.write_json(base.with_suffix(".json"), {"errors": errors, "sums": sums})


class _Rows:
    """Chosen rows of a memory-mapped array, without copying it."""

    def __init__(self, array, rows):
        self.array, self.rows = array, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.array[self.rows[i]]


def scratch(run, kind, shape):
    """An array in a nameless file of the run directory, so that memory does not grow with the photos.

    The processes of one machine share it: each fills in its part, and reads after `distributed.barrier()`.
    """
    number, _ = distributed.local_rank()
    path = run.path / f"scratch{os.environ.get('GROUP_RANK', '')}"  # torchrun's number of the machine
    if number == 0:
        files.reserve(path, math.prod(shape) * np.dtype(kind).itemsize)
    distributed.barrier()
    array = np.memmap(path, kind, "r+", shape=shape)
    distributed.barrier()
    if number == 0:
        path.unlink()
    return array


def rows(photos):
    """Row of each photo in an array of the trainval photos, then the background photos; int64 (P+B,)."""
    learn, row_of = np.concatenate([photos.trainval, photos.background]), np.zeros(len(photos.names), np.int64)
    row_of[learn] = np.arange(len(learn))
    return row_of
