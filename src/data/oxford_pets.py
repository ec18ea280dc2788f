"""The Oxford-IIIT Pet layout: label lists, images and trimaps below one folder, background photos beside it."""

import re
from collections import Counter

from src import InputError, count_of, few, files
from src.data.decoding import photos_by_stem
from src.data.photos import Listing

FOLDER = "oxford-iiit-pet"
SPECIES = {"1": "cat", "2": "dog"}  # as the dataset's lists number them


def fits(root):
    """Whether a folder has this layout."""
    return (root / FOLDER).is_dir()


def listing(root, skip):
    """Read the label lists; trimaps are not opened.

    Raises:
        InputError: no list, a bad line, or lists and photos do not match (unless skip).
    """
    pets = root / FOLDER
    lists = {split: pets / "annotations" / f"{split}.txt" for split in ("trainval", "test")}
    rows = [(split, *row) for split, path in lists.items() for row in read_list(path)]
    paths = _match(pets / "images", [name for _, name, _, _ in rows], skip)
    rows = [row for row in rows if row[1] in paths]
    splits, names, breeds, species = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    trimaps = pets / "annotations" / "trimaps"
    of_breeds = _breed_names(names, breeds)
    return Listing(
        names=names,
        paths=[paths[name] for name in names],
        splits=splits,
        species=species,
        breeds=breeds,
        species_names={i: SPECIES.get(i, f"class {i}") for i in sorted(set(species), key=int)},
        breed_names={i: of_breeds[i] for i in sorted(of_breeds, key=int)},
        truths=[trimaps / f"{name}.png" if trimaps.is_dir() else None for name in names],
        trimaps=True,
    )


def _breed_names(names, breeds):
    """dict class id -> name of the breed, from names such as Abyssinian_1.

    Raises:
        InputError: a class has photos of several breeds, or a breed several classes.
    """
    pairs = {(breed, name.rpartition("_")[0]) for name, breed in zip(names, breeds, strict=True)}
    for this, other, what in ((0, 1, "class"), (1, 0, "breed")):
        counts = Counter(pair[this] for pair in pairs)
        if twice := [key for key, count in counts.items() if key and count > 1]:  # names without _ have no breed
            others = sorted(pair[other] for pair in pairs if pair[this] == twice[0])
            raise InputError(f"the label lists have the {what} {twice[0]} as {few(others)}")
    return dict(pairs)


def read_list(path):
    """(name, class id, species id) of each line of an Oxford-IIIT Pet list; # starts a comment."""
    if not path.is_file():
        raise InputError(f"no label list {path}")
    rows = []
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) < 3 or not all(re.fullmatch("[0-9]{1,9}", word) for word in words[1:3]):
            raise InputError(f"{path}, line {number}: expected 'name class species', found {line!r}")
        rows.append(tuple(words[:3]))
    return rows


def _match(folder, names, skip):
    """dict name -> path of the labelled photos; photos and label lines must match one to one unless skip."""
    if not folder.is_dir():
        raise InputError(f"no folder of photos {folder}")
    there = photos_by_stem(folder)
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
