"""The photos of a data root: names, labels, splits, and a decoded copy that training reads by index."""

import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from src import compute, download, images
from src.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SPECIES = {"1": "cat", "2": "dog"}  # as the dataset's lists number them


@dataclass(frozen=True)
class PhotoSet:
    """Photos of pets (indices 0..P-1), then pet-free background photos (indices P..P+B-1).

    species and breeds are int64 arrays (P+B,) of class indices; background photos are the class after the last.
    trainval and test are index arrays into the pets, background into the rest. pixels holds uint8 (3, S, S) photos.
    """

    root: Path
    names: list
    paths: list
    species: np.ndarray
    breeds: np.ndarray
    species_names: list
    breed_names: list
    trainval: np.ndarray
    test: np.ndarray
    background: np.ndarray
    pixels: "Pixels"

    def batch(self, index):
        """uint8 tensor (N, 3, S, S) of the photos at these indices."""
        return torch.from_numpy(np.stack([self.pixels[int(i)] for i in index]))

    def labels_of(self, classes):
        """Labels of a classifier's classes: (int64 (P+B,), number of pet classes), or (None, None) if not ours."""
        pets = [name for name in classes or [] if name != "background"]
        for labels, names in ((self.species, self.species_names), (self.breeds, self.breed_names)):
            if pets == names:
                return labels, len(names)
        return None, None

    def heads_of(self, names):
        """Which of a class-specific CCAM's heads, given the classes they are for, belongs to each photo.

        Raises:
            InputError: the heads are for other classes than those of this data root.
        """
        labels, _ = self.labels_of(names)
        if labels is None:
            raise InputError(f"the checkpoint's classes ({_few(names)}) are not those of {self.root}")
        return labels

    def trimap_path(self, i):
        """Where the trimap of photo i is. Only evaluation and training on the ground truth may open it."""
        return self.root / "oxford-iiit-pet" / "annotations" / "trimaps" / f"{self.names[i]}.png"

    def has_trimaps(self):
        return (self.root / "oxford-iiit-pet" / "annotations" / "trimaps").is_dir()


class Pixels:
    """Several memory-mapped uint8 arrays (N_k, 3, S, S) read as one."""

    def __init__(self, arrays):
        self.arrays = [array for array in arrays if len(array)]

    def __getitem__(self, i):
        for array in self.arrays:
            if i < len(array):
                return array[i]
            i -= len(array)
        raise IndexError(i)


def load(settings, background=False):
    """Open the photos of settings.data_root, decoding them into the cache the first time.

    Args:
        settings: of cli.override; data_root, runs_root, image_size and skip_bad_photos are used.
        background: also load the pet-free photos of <data_root>/background.

    Returns:
        PhotoSet. Labels come from annotations/trainval.txt and test.txt; trimaps are not touched.

    Raises:
        InputError: no dataset there, lists and photos do not match, or photos cannot be read.
    """
    with compute.main_process_first():
        return _load(settings, background)


def _load(settings, background):
    root = download.prepare(Path(settings.data_root), background)
    pets = root / "oxford-iiit-pet"
    lists = {split: pets / "annotations" / f"{split}.txt" for split in ("trainval", "test")}
    rows = [(split, *row) for split, path in lists.items() for row in _read_list(path)]
    paths = _match(pets / "images", [name for _, name, _, _ in rows], settings.skip_bad_photos)
    rows = [row for row in rows if row[1] in paths]
    scenes = _scenes(root / "background") if background else []
    good, pixels = _open_cache([paths[row[1]] for row in rows], settings)
    rows = [row for row, ok in zip(rows, good, strict=True) if ok]
    good, scene_pixels = _open_cache(scenes, settings)
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
        pixels=Pixels([pixels, scene_pixels]),
    )


def _read_list(path):
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
        raise InputError(f"{_count(twice, 'photo')} stand twice in trainval.txt and test.txt: {_few(twice)}")
    for bad, what in ((missing, "label line(s) without a photo"), (unlabelled, "photo(s) without a label line")):
        if bad:
            text = f"{len(bad)} {what} in {folder.parent}: {_few(bad)}"
            if not skip:
                raise InputError(f"{text}; --skip-bad-photos leaves them out")
            print(f"left out {text}", flush=True)
    return {name: there[name] for name in names if name in there}


def _scenes(folder):
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


def _count(items, noun):
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _few(names, most=3):
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _open_cache(paths, settings):
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
        text = f"{_count(bad, 'photo')} of {len(paths)} unreadable: {_few(bad)}"
        if not settings.skip_bad_photos:
            raise InputError(f"{text}; --skip-bad-photos leaves them out")
        print(f"left out {text}", flush=True)
    array = np.load(array_path, mmap_mode="r")
    good = [not error for error in errors]
    return good, array if not bad else _Rows(array, np.flatnonzero(good))


def _fill_cache(paths, size, array_path):
    """Decode in parallel; returns a list of error texts, empty where the photo is fine."""

    def one(item):
        i, path = item
        try:
            array[i] = images.decode(path, size).transpose(2, 0, 1)
            return ""
        except InputError as error:
            return str(error)

    part = array_path.with_suffix(f".{os.getpid()}.part")
    array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(paths), 3, size, size))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes outside Python's lock
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


def chunks(index, size):
    """Split indices into nearly equal parts, none larger than `size`, so that no lone photo is left over."""
    return np.array_split(index, max(1, -(-len(index) // size)))


def batches(index, size, generator):
    """Shuffle indices and split them into the batches of an epoch."""
    return chunks(np.asarray(index)[torch.randperm(len(index), generator=generator).numpy()], size)


def randomness(index, generator):
    """Random numbers of this process's part of a batch for `augment`, (n, 5) in [0, 1).

    They are drawn for the whole batch on the CPU, so they do not depend on the device or on the number of processes.
    """
    return compute.share(torch.rand(5, len(index), generator=generator).T)


def augment(photos, random, masks=None, smallest=0.6, brightness=0.2):
    """Random crop (resized back), horizontal flip and brightness, the same crop and flip for photo and mask.

    Args:
        photos: uint8 or float (N, 3, H, W), 0..255.
        random: float (N, 5) in [0, 1), of `randomness`.
        masks: optional uint8 (N, H, W), resampled to the nearest pixel.
        smallest: smallest side of the crop as a fraction of the photo's; 1 only flips.
        brightness: photos are multiplied by 1 +- this.

    Returns:
        float (N, 3, H, W) photos; with masks, (photos, int64 masks).
    """
    count, where = len(photos), photos.device
    random = compute.upload(random).T
    scale = smallest + (1 - smallest) * random[0]
    flip = torch.where(random[1] < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=where)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = ((1 - scale) * (2 * random[2:4] - 1)).T
    grid = F.affine_grid(theta, photos.shape, align_corners=False)
    light = 1 + brightness * (2 * random[4] - 1)
    photos = F.grid_sample(photos.float(), grid, align_corners=False, padding_mode="reflection")
    photos = (photos * light.view(-1, 1, 1, 1)).clamp(0, 255)
    if masks is None:
        return photos
    masks = F.grid_sample(masks[:, None].float(), grid, "nearest", "reflection", align_corners=False)
    return photos, masks[:, 0].long()
