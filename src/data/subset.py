"""A part of an Oxford-IIIT Pet data root, with a split of its own and smaller photos, as a data root."""

import math
import os
import shutil
from pathlib import Path

from PIL import Image

from src import InputError, compute, count_of, few, files, locks
from src.data import download, layouts, oxford_pets
from src.data.decoding import FORMATS, decode, photos_by_stem

LIST = "list.json"  # in the target: what it was made of


def select(root, photos, max_side, target):
    """Lay out the photos that a list names, unless `target` is there already; the folder appears when it is whole.

    Args:
        root: data root with oxford-iiit-pet/ and, for the background scenes, background/.
        photos: text file of "name split" lines, split being trainval or test.
        max_side: photos and trimaps are shrunk to this many pixels on the longer side; smaller ones stay.
        target: data root to make.

    Returns:
        target.

    Raises:
        InputError: the list is missing or wrong, or names photos that are not there; or target is of another list.
    """
    wanted = _read(Path(photos))
    made_of = {"photos": wanted, "root": str(Path(root).resolve())}
    lock = locks.Lock(target.with_name(f"{target.name}.lock"), target, patience=math.inf)
    try:
        _select(root, photos, wanted, made_of, max_side, target)
    finally:
        lock.release()
    return target


def _select(root, photos, wanted, made_of, max_side, target):
    if target.is_dir():
        known = files.read_json(target / LIST) if (target / LIST).is_file() else {}
        stamps = known.pop("stamps", None)
        if known != made_of:
            raise InputError(f"{target} was made of another {photos}; delete it, or use another --runs-root")
        if changed := _changed(root, wanted, stamps):
            text = f"{few(changed)} of {root} changed since {target} was made"
            raise InputError(f"{text}; delete it, or use another --runs-root")
        return
    pets = download.prepare(Path(root), background=True) / oxford_pets.FOLDER
    rows = [
        row for split in ("trainval", "test") for row in oxford_pets.read_list(pets / "annotations" / f"{split}.txt")
    ]
    known = {name: (breed, species) for name, breed, species in rows}
    paths = photos_by_stem(pets / "images")
    missing = [name for name in wanted if name not in known or name not in paths]
    if missing:
        raise InputError(f"{pets} lacks {count_of(missing, 'photo')} of {photos}: {few(missing)}")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    images, annotations = (part / oxford_pets.FOLDER / folder for folder in ("images", "annotations"))
    for folder in (images, annotations / "trimaps", part / "background"):
        folder.mkdir(parents=True)
    jobs = [(paths[name], images / f"{name}.png", Image.Resampling.BICUBIC) for name in wanted]
    trimaps = [
        (pets / "annotations" / "trimaps" / f"{name}.png", annotations / "trimaps" / f"{name}.png") for name in wanted
    ]
    jobs += [(*pair, Image.Resampling.NEAREST) for pair in trimaps if pair[0].is_file()]
    scenes = layouts.scenes_of(pets.parent) if (pets.parent / "background").is_dir() else []
    jobs += [
        (path, part / "background" / f"{k}_{path.stem}.png", Image.Resampling.BICUBIC) for k, path in enumerate(scenes)
    ]
    with compute.threads() as pool:
        list(compute.progress(pool.map(lambda job: _shrink(*job, max_side), jobs), "selecting photos", total=len(jobs)))
    for split in ("trainval", "test"):
        lines = [f"{name} {' '.join(known[name])} 1\n" for name, found in wanted.items() if found == split]
        (annotations / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    files.write_json(
        part / LIST, made_of | {"stamps": {key: _stamp(path) for key, path in _sources(root, wanted).items()}}
    )
    os.replace(part, target)


def _sources(root, wanted):
    """dict path below the root -> path of those photos and trimaps of a list that are there."""
    pets = Path(root) / oxford_pets.FOLDER
    paths = photos_by_stem(pets / "images") if (pets / "images").is_dir() else {}
    found = [path for name in wanted for path in (paths.get(name), pets / "annotations" / "trimaps" / f"{name}.png")]
    return {path.relative_to(root).as_posix(): path for path in found if path and path.is_file()}


def _stamp(path):
    return {"changed": path.stat().st_mtime_ns, "CRC": files.digest(path)}


def _changed(root, wanted, stamps):
    """Names of the photos and trimaps that are others than when their stamps were taken."""
    found = []
    for key, path in _sources(root, wanted).items():
        stamp = (stamps or {}).get(key)
        if stamp and stamp["changed"] != path.stat().st_mtime_ns and stamp["CRC"] != files.digest(path):
            found.append(path.name)
    return found


def _read(path):
    """dict name -> split of a list."""
    if not path.is_file():
        raise InputError(f"no list of photos {path}")
    found = {}
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        name, _, split = line.strip().partition(" ")
        if name and split not in ("trainval", "test"):
            raise InputError(f"{path}, line {number}: expected 'name trainval' or 'name test', found {line!r}")
        if found.get(name, split) != split:
            raise InputError(f"{path}, line {number}: {name} is in both splits")
        found |= {name: split} if name else {}
    return found


def _shrink(source, target, resampling, max_side):
    """Save an image, at most max_side pixels on the longer side, as PNG; grey trimaps stay grey."""
    try:
        is_trimap = resampling == Image.Resampling.NEAREST
        with Image.open(source, formats=FORMATS) if is_trimap else Image.fromarray(decode(source)) as image:
            scale = max_side / max(image.size)
            if scale < 1:
                image = image.resize([max(1, round(side * scale)) for side in image.size], resampling)
            image.save(target, format="PNG")
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{source.name}: {error}") from None
