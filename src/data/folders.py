"""Folders of photos: one subfolder a class or none, train/, test/ or val/ above them, background/ and masks/ beside.

In YOLO's tree the photos are below images/, beside labels/, and of one class.
"""

import os
from pathlib import Path, PurePath

from src import InputError, count_of, few, files, manifest
from src.data.decoding import is_photo
from src.data.photos import Listing
from src.data.splitting import splits_of

SPLITS = {"train": "trainval", "test": "test", "val": "test"}  # name of the folder -> split
OF_SYSTEMS = (  # folders without photos, some of them with thumbnails
    "__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN", "#recycle", "@eaDir",
)  # fmt: skip
RESERVED = ("background", "masks", *SPLITS)


def fits(root):
    """Whether there is any photo below a folder."""
    return next(photos_below(root), None) is not None


def class_of(name):
    """The class by a photo's name: its first folder, below images/, train/, test/ or val/; empty if it is in none."""
    parts = PurePath(name).parts[:-1]
    parts = parts[1:] if parts[:1] == ("images",) else parts
    parts = parts[1:] if parts[:1] and parts[0] in SPLITS else parts
    return parts[0] if parts else ""


def photos_below(folder):
    """Paths of the photos of a folder and its subfolders, linked ones too; hidden ones and earlier outputs left out.

    A link that leads nowhere is one of them: whoever opens it will say so.

    Raises:
        InputError: a subfolder cannot be read.
    """

    def refuse(error):
        if not isinstance(error, FileNotFoundError):  # a folder that is not there has no photos
            raise InputError(f"{error.filename}: {files.reason(error, files.READING)}")

    seen = set()
    for base, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(base)
        if real in seen or (manifest.NOTE in names and base != str(folder)):  # a link to a folder above, or outputs
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".") and name not in OF_SYSTEMS]
        for path in (Path(base, name) for name in names):
            if is_photo(path) and (path.is_file() or not os.path.exists(path)):  # no pipes or devices
                yield path


def listing(root, skip):  # noqa: ARG001 - every layout's listing has it; folders cannot disagree with a list
    """List the photos; without train/, test/ and val/, a hash of its name puts every fifth photo into test.

    Masks for evaluation are masks/<the photo's path>.png, with or without train/ or test/ and the class before it.

    Raises:
        InputError: photos beside subfolders with photos, two photos of one name, or folders that mean something else.
    """
    if (root / manifest.NOTE).exists():  # its masks/ would be taken for ground truth
        raise InputError(f"{root} also holds what predict.py wrote; move that into a folder of its own")
    yolo = (root / "images").is_dir() and (root / "labels").is_dir() and not fits(root / "labels")
    home = root / "images" if yolo else root
    _check_folders(home)
    _check_beside(root, {"images", *RESERVED} if yolo else None)
    given = [home / name for name in SPLITS if (home / name).is_dir()]
    found = {}
    for base in given or [home]:
        for path in sorted(photos_below(base)):
            inside = path.relative_to(base)
            if given or inside.parts[0] not in RESERVED:
                name = path.relative_to(root).with_suffix("").as_posix()
                if name in found:
                    raise InputError(f"two photos are named {name}: {found[name][0].name} and {path.name}; rename one")
                found[name] = (path, inside)
    classes = {inside.parts[0] if len(inside.parts) > 1 else "" for _, inside in found.values()}
    if home == root and len(classes) > 1 and "" in classes:
        loose = [path.name for path, inside in found.values() if len(inside.parts) == 1]
        raise InputError(f"{root} has photos beside subfolders of photos ({few(loose)}); move them into a subfolder")
    alone = home != root or "" in classes
    there = {path.name for base in given or [home] for path in base.iterdir() if path.is_dir()}
    lack = sorted(name for name in there - classes - {*RESERVED, *OF_SYSTEMS} if not name.startswith("."))
    if lack and not alone:
        print(f"no photo in {few(lack)} of {root}", flush=True)
    labels = ["subject" if alone else inside.parts[0] for _, inside in found.values()]
    if odd := sorted(set(labels) & set(RESERVED)):
        raise InputError(f"{root}: {few(odd)} is no class; put it beside train/ (data/README.md)")
    order = {name: name for name in sorted(set(labels))}
    split = (
        {name: SPLITS[path.relative_to(home).parts[0]] for name, (path, _) in found.items()}
        if given
        else splits_of(found)
    )
    return Listing(
        names=list(found),
        paths=[path for path, _ in found.values()],
        splits=list(split.values()),
        species=labels,
        breeds=labels,
        species_names=order,
        breed_names=order,
        truths=_masks_of(root / "masks", list(found)),
        trimaps=False,
    )


def _check_folders(root):
    """Refuse folders whose photos would be taken for a class, or for nothing, where something else is meant."""
    folders = [path.name for path in root.iterdir() if path.is_dir()]
    if wrong := [name for name in folders if name not in RESERVED and name.lower() in RESERVED]:
        raise InputError(f"{root}: rename {few(wrong)} to lower case")
    if (root / "annotations" / "trimaps").is_dir():
        raise InputError(f"{root} is the inside of Oxford-IIIT Pet's layout; give the folder above it")
    if any(name in SPLITS for name in folders):
        lost = [path.relative_to(root) for path in sorted(photos_below(root))]
        if lost := [str(path) for path in lost if path.parts[0] not in RESERVED]:
            raise InputError(
                f"{root}: {count_of(lost, 'photo')} outside train/, test/ and val/ ({few(lost)}); move them"
            )


def _check_beside(root, expected):
    """Refuse photos of a YOLO tree outside the folders that are expected to have some."""
    lost = [path.relative_to(root) for path in sorted(photos_below(root))] if expected else []
    if lost := [str(path) for path in lost if path.parts[0] not in expected]:
        raise InputError(f"{root}: {count_of(lost, 'photo')} outside images/ ({few(lost)}); move them")


def _masks_of(folder, names):
    """The mask of each photo or None: at its whole relative path, or with leading folders left out.

    Raises:
        InputError: a mask would be that of several photos.
    """
    pictures = sorted(photos_below(folder))
    pngs = [path for path in pictures if path.suffix.lower() == ".png"]
    if len(pngs) < len(pictures):
        print(f"{len(pictures) - len(pngs)} of {count_of(pictures, 'picture')} in {folder} are no PNG, so no mask")
    there = {path.relative_to(folder).with_suffix("").as_posix(): path for path in pngs}
    found = {}
    for name in names:
        parts = name.split("/")
        tries = ("/".join(parts[k:]) for k in range(len(parts)))
        path = next((there[one] for one in tries if one in there), None)
        if path and path in found:
            raise InputError(f"{path} fits {found[path]} and {name}; give each a mask at its whole path below masks/")
        found |= {path: name} if path else {}
    if there and len(found) < len(there):
        print(f"{len(there) - len(found)} of {count_of(there, 'mask')} in {folder} fit no photo", flush=True)
    of_names = {name: path for path, name in found.items()}
    return [of_names.get(name) for name in names]
