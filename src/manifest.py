"""What the files of an output folder were made of, so that no other photo's file is taken for one's own."""

import os
import sys

from src import InputError, count_of, few, files, locks

NOTE = "made_of.json"  # tells an output folder
WRITTEN = ("masks", "overlays", "cutouts", "maps", "cams", "coco", "voc", "report.html", "replaced")  # below it
BESIDE = {"overlays": "overlays/{}.jpg", "cutouts": "cutouts/{}.png", "maps": "maps/{}.png"}  # made with a mask


def note(out, folder, photos, checkpoint, flags, *, with_pictures=False, with_maps=False, anew=False):
    """Note in <out>/made_of.json what the files of a folder are made of, and with what; lock <out> for this process.

    Masks that are made again, because their photos have changed or all are to be, go to <out>/replaced/<number of the
    time>: somebody may have corrected them. What lies beside a mask is made again where it is older than the mask.

    Args:
        out: Path. folder: its name in `out`, masks or cams/<class>. photos: dict of `predicted.photos_in`.
        checkpoint, flags: what they are made with, flags a dict. with_pictures, with_maps: asked for beside each mask.
        anew: make all files again.

    Returns:
        Those of the photos of which something is not there yet; of those whose own file is to be made again, none is
        left.

    Raises:
        InputError: a file is there, but of another photo, not of an earlier call, or made in another way; another
            process writes there.
    """
    locks.Lock(out / ".predict.lock", out)
    path, suffix = out / NOTE, ".png" if folder == "masks" else ".jpg"
    how = {"checkpoint": str(checkpoint), "CRC": files.digest(checkpoint)} | flags
    advice = "; give another --out"
    known = files.read_json(path, advice=advice) if path.exists() else {}
    if strangers := [name for name in WRITTEN if not known and (out / name).exists()]:
        raise InputError(f"{out / strangers[0]} is in the way, and not of an earlier call{advice}")
    before = known.setdefault(folder, {"how": how, "photos": {}})
    try:
        made, sources = dict(before["how"]), dict(before["photos"])
        paths = {name: source["path"] for name, source in sources.items()}
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is damaged{advice}") from None
    _follow(out, folder, suffix, photos, sources, paths)
    asked = {"overlays": with_pictures, "cutouts": with_pictures, "maps": with_maps}
    stale, ahead, now = [], {}, {}
    for name, photo in photos.items():
        now[name], written = _stamp(photo), out / folder / f"{name}{suffix}"
        if written.exists() and paths.get(name) != now[name]["path"]:
            raise InputError(f"{written} is of {paths.get(name, 'something else')}{advice}")
        again = photo.exists() and (anew or (written.exists() and sources[name] != now[name]))
        if again or not written.is_file() or not written.stat().st_size:
            stale.append(name)
            ahead[name] = photo
        elif not all(_is_of(out / BESIDE[what].format(name), written) for what, needed in asked.items() if needed):
            ahead[name] = photo
    kept = {*(out / folder).rglob(f"*{suffix}")} - {out / folder / f"{name}{suffix}" for name in stale}
    if kept and any(made.get(what) != how[what] for what in how if what != "checkpoint"):
        raise InputError(f"{out / folder} was made with {_words(made)}, not {_words(how)}; give another --out")
    replaced = [name for name in stale if (out / folder / f"{name}{suffix}").is_file()]
    times = [int(path.name) for path in (out / "replaced").glob("*") if path.name.isdecimal()]
    earlier = out / "replaced" / str(1 + max(times, default=0))
    for name in replaced:
        place = earlier / folder / f"{name}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(out / folder / f"{name}{suffix}", place)
    if replaced:
        words = f"{count_of(replaced, 'photo')} {'made anew' if anew else 'changed since'} ({few(replaced)})"
        print(f"{words}; what was made of them is in {earlier}", file=sys.stderr, flush=True)
    for name in stale:
        for place in (f"{folder}/{name}{suffix}", *(BESIDE[what].format(name) for what in asked if folder == "masks")):
            (out / place).unlink(missing_ok=True)
    known[folder] = {"how": how, "photos": sources | now}
    files.write_json(path, known)
    return ahead


def _follow(out, folder, suffix, photos, sources, paths):
    """Give the files of photos that have another name now, because others were added, that name."""
    names = {path: name for name, path in paths.items() if name not in photos}
    for name, photo in photos.items():
        former = names.get(str(files.resolved(photo)))
        if former and name not in sources:
            sources[name], paths[name] = sources.pop(former), paths.pop(former)
            for pattern in (f"{folder}/{{}}{suffix}", *(BESIDE.values() if folder == "masks" else ())):
                before, after = out / pattern.format(former), out / pattern.format(name)
                if before.is_file() and not after.exists():
                    after.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(before, after)


def _is_of(path, mask):
    """Whether a file was made with this mask, and not with that of before somebody corrected it."""
    return path.is_file() and path.stat().st_mtime_ns >= mask.stat().st_mtime_ns


def date_back(mask, files_beside):
    """Give a new mask the date of the oldest file beside it, so that it is newer than them once somebody edits it."""
    if files_beside:
        date = min(path.stat().st_mtime_ns for path in files_beside)
        os.utime(mask, ns=(date, date))


def say_done(out, folder, count):
    """Print how many files of a folder are written now; InputError if <out> is gone, in which `note` noted them."""
    if not (out / NOTE).is_file():
        text = "has vanished while it was written; remove what is left of it, and the same command makes it anew"
        raise InputError(f"{out} {text}")
    print(f"{count} {folder}: {out / folder}", file=sys.stderr, flush=True)


def _stamp(photo):
    """What tells a photo from another, and from itself before it was edited."""
    path = files.resolved(photo)
    found = path.stat() if path.exists() else None
    return {"path": str(path), "bytes": found and found.st_size, "changed": found and found.st_mtime_ns}


def _words(how):
    return ", ".join(f"{what} {value}" for what, value in how.items())
