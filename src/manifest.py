"""What the files of an output folder were made of, so that no other photo's file is taken for one's own."""

import zlib

from src import InputError, files


def note(out, folder, suffix, photos, checkpoint, fast):
    """Note in <out>/made_of.json what the files of a folder are made of, and with what.

    Args:
        out: Path. folder: its name in `out`. suffix: of its files. photos: dict of `prediction.photos_in`.
        checkpoint, fast: what they are made with.

    Returns:
        Those of the photos whose file is not there yet; the file of a photo that has changed is removed.

    Raises:
        InputError: a file is there, but of another photo, or was made in another way.
    """
    path = out / "made_of.json"
    how = {"checkpoint": str(checkpoint), "CRC": f"{zlib.crc32(checkpoint.read_bytes()):08x}", "--fast": fast}
    advice = "; without it the files there are taken for these photos'"
    known = files.read_json(path, advice=advice) if path.exists() else {}
    before = known.setdefault(folder, {"how": how, "photos": {}})
    try:
        made, sources = dict(before["how"]), dict(before["photos"])
        if not all(isinstance(source, list) and source for source in sources.values()):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is damaged{advice}") from None
    if made != how and any((out / folder).rglob(f"*{suffix}")):
        raise InputError(f"{out / folder} was made with {_words(made)}, not {_words(how)}; give another --out")
    ahead = {}
    for name, photo in photos.items():
        source, written = _stamp(photo), out / folder / f"{name}{suffix}"
        if written.exists() and (there := sources.get(name, source)) != source:
            if there[:1] != source[:1]:
                raise InputError(f"{written} is of {there[0]}; give another --out")
            written.unlink()  # the photo has changed since
        if not written.exists():
            ahead[name] = photo
        sources[name] = source
    known[folder] = {"how": how, "photos": sources}
    files.write_json(path, known)
    return ahead


def _stamp(photo):
    """What tells a photo from another, and from itself before it was edited: path, bytes, time of change in ns."""
    path = files.resolved(photo)
    found = path.stat() if path.exists() else None
    return [str(path), found and found.st_size, found and found.st_mtime_ns]


def _words(how):
    return ", ".join(f"{what} {value}" for what, value in how.items())
