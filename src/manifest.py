"""What the files of an output folder were made of, so that no other photo's file is taken for one's own."""

import zlib

from src import InputError, files


def note(out, folder, suffix, photos, checkpoint, fast):
    """Note in <out>/made_of.json what the files of a folder are made of, and with what.

    Args:
        out: Path. folder: its name in `out`. suffix: of its files. photos: dict of `prediction.photos_in`.
        checkpoint, fast: what they are made with.

    Returns:
        Those of the photos whose file is not there yet.

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
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is damaged{advice}") from None
    there = {name for name in photos if (out / folder / f"{name}{suffix}").exists()}
    if made != how and any((out / folder).rglob(f"*{suffix}")):
        raise InputError(f"{out / folder} was made with {_words(made)}, not {_words(how)}; give another --out")
    for name, photo in photos.items():
        source = str(photo.resolve())
        if name in there and sources.get(name, source) != source:
            raise InputError(f"{out / folder / name}{suffix} is of {sources[name]}; give another --out")
        sources[name] = source
    known[folder] = {"how": how, "photos": sources}
    files.write_json(path, known)
    return {name: photo for name, photo in photos.items() if name not in there}


def _words(how):
    return ", ".join(f"{what} {value}" for what, value in how.items())
