"""Arrays in files, so that memory does not grow with the photos: the decoded photos, and scratch space of a run."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src import InputError, compute, count_of, distributed, few
from src.data import decoding


def decoded(paths, settings):
    """Decode photos once into a memory-mapped array keyed by the files and the size that made it.

    Returns:
        (list of bool: photo is readable, uint8 array (readable photos, 3, S, S)).
    """
    size = settings.image_size
    if not paths:
        return [], np.zeros((0, 3, size, size), np.uint8)
    made_of = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    key = hashlib.sha256(json.dumps([1, size, made_of]).encode()).hexdigest()[:16]
    folder = Path(settings.runs_root) / "cache"
    array_path, errors_path = folder / f"{key}.npy", folder / f"{key}.json"
    if not errors_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        errors = _fill_cache(paths, size, array_path)
        part = folder / f"{key}.{os.getpid()}.part"
        part.write_text(json.dumps(errors))
        os.replace(part, errors_path)
    errors = json.loads(errors_path.read_text())
    bad = [error for error in errors if error]
    if bad:
        text = f"{count_of(bad, 'photo')} of {len(paths)} unreadable: {few(bad)}"
        if not settings.skip_bad_photos:
            raise InputError(f"{text}; --skip-bad-photos leaves them out")
        print(f"left out {text}", flush=True)
    array = np.load(array_path, mmap_mode="r")
    good = [not error for error in errors]
    return good, array if not bad else _Rows(array, np.flatnonzero(good))


def unread(paths, settings):
    """In place of `decoded` where nobody looks at the photos: all are taken for readable, and there is no array."""
    return [True] * len(paths), []


def _fill_cache(paths, size, array_path):
    """Decode in parallel; returns a list of error texts, empty where the photo is fine."""

    def one(item):
        i, path = item
        try:
            array[i] = decoding.decode(path, size).transpose(2, 0, 1)
            return ""
        except InputError as error:
            return str(error)

    part = array_path.with_suffix(f".{os.getpid()}.part")
    array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(paths), 3, size, size))
    with ThreadPoolExecutor(compute.cores()) as pool:  # Pillow decodes and resizes outside Python's lock
        bar = tqdm(pool.map(one, enumerate(paths)), "decoding", len(paths), disable=None, unit="photo")
        errors = list(bar)
    array.flush()
    os.replace(part, array_path)
    return errors


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
        np.memmap(path, kind, "w+", shape=shape)
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
