"""The Oxford-IIIT Pet layout: label lists, images and trimaps below one folder, background photos beside it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from src import InputError, count_of, distributed, few
from src.data import cache, download
from src.data.photos import PhotoSet, Pixels

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SPECIES = {"1": "cat", "2": "dog"}  # as the dataset's lists number them


def load(settings, background=False, pixels=True, test_only=False):
    """Open the photos of settings.data_root, decoding them into the cache the first time.

    Args:
        settings: of cli.override; data_root, runs_root, image_size and skip_bad_photos are used.
        background: also load the pet-free photos of <data_root>/background.
        pixels: decode the photos; whoever wants only names and trimaps need not wait for that.
        test_only: leave trainval empty, for stages that only score.

    Returns:
        PhotoSet. Labels come from annotations/trainval.txt and test.txt; trimaps are not touched.

    Raises:
        InputError: no dataset there, lists and photos do not match, or photos cannot be read.
    """
    with distributed.main_process_first():
        photos = _load(settings, background, pixels)
    return replace(photos, trainval=photos.trainval[:0]) if test_only else photos


def _load(settings, background, pixels):
    root = download.prepare(Path(settings.data_root), background)
    pets = root / "oxford-iiit-pet"
    lists = {split: pets / "annotations" / f"{split}.txt" for split in ("trainval", "test")}
    rows = [(split, *row) for split, path in lists.items() for row in read_list(path)]
    paths = _match(pets / "images", [name for _, name, _, _ in rows], settings.skip_bad_photos)
    rows = [row for row in rows if row[1] in paths]
    scenes = scenes_of(root / "background") if background else []
    open_cache = cache.decoded if pixels else cache.unread
    good, pet_pixels = open_cache([paths[row[1]] for row in rows], settings)
    rows = [row for row, ok in zip(rows, good, strict=True) if ok]
    good, scene_pixels = open_cache(scenes, settings)
    scenes = [path for path, ok in zip(scenes, good, strict=True) if ok]
    if not any(row[0] == "trainval" for row in rows):
        raise InputError(f"no trainval photo in {pets}")

    species, species_names = _classes([row[3] for row in rows], SPECIES, len(scenes))
    names = {row[2]: row[1].rpartition("_")[0] for row in rows}  # Abyssinian_1 is a photo of the breed Abyssinian
    breeds, breed_names = _classes([row[2] for row in rows], names, len(scenes))
    split = np.array([row[0] for row in rows])
    return PhotoSet(
        root=root,
        names=[row[1] for row in rows] + [path.stem for path in scenes],
        paths=[paths[row[1]] for row in rows] + scenes,
        species=species,
        breeds=breeds,
        species_names=species_names,
        breed_names=breed_names,
        trainval=np.flatnonzero(split == "trainval"),
        test=np.flatnonzero(split == "test"),
        background=np.arange(len(rows), len(rows) + len(scenes)),
        pixels=Pixels([pet_pixels, scene_pixels]),
    )


def read_list(path):
    """(name, class id, species id) of each line of an Oxford-IIIT Pet list; # starts a comment."""
    if not path.is_file():
        raise InputError(f"no label list {path}")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) < 3 or not all(word.isdigit() for word in words[1:3]):
            raise InputError(f"{path}, line {number}: expected 'name class species', found {line!r}")
        rows.append(tuple(words[:3]))
    return rows


def _match(folder, names, skip):
    """dict name -> path of the labelled photos; photos and label lines must match one to one unless skip."""
    if not folder.is_dir():
        raise InputError(f"no folder of photos {folder}")
    there = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    missing = [name for name in names if name not in there]
    unlabelled = sorted(set(there) - set(names))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{count_of(twice, 'photo')} stand twice in trainval.txt and test.txt: {few(twice)}")
    for bad, what in ((missing, "label line(s) without a photo"), (unlabelled, "photo(s) without a label line")):
        if bad:
            text = f"{len(bad)} {what} in {folder.parent}: {few(bad)}"
            if not skip:
                raise InputError(f"{text}; --skip-bad-photos leaves them out")
            print(f"left out {text}", flush=True)
    return {name: there[name] for name in names if name in there}


def scenes_of(folder):
    """Photos anywhere below the background folder."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise InputError(f"no background photos in {folder}")
    return found


def _classes(ids, names, backgrounds):
    """Class ids to indices 0..K-1, with K for the background photos that follow; and the K names."""
    present = sorted(set(ids), key=int)
    index = [present.index(i) for i in ids] + [len(present)] * backgrounds
    return np.array(index, dtype=np.int64), [names.get(i, f"class {i}") for i in present]
