"""What the files of an output folder were made of, so that no other photo's file is taken for one's own."""

from src import InputError, files


def note(out, folder, how, photos, suffix):
    """Note in <out>/made_of.json what the files of a folder are made of, and with what.

    Args:
        folder: name of the folder in `out`. how: dict of words. photos: dict of `photos_in`. suffix: of its files.

    Returns:
        Those of the photos whose file is not there yet.

    Raises:
        InputError: a file is there, but of another photo, or was made in another way.
    """
    known = files.read_json(out / "made_of.json") if (out / "made_of.json").exists() else {}
    before = known.setdefault(folder, {"how": how, "photos": {}})
    there = {name for name in photos if (out / folder / f"{name}{suffix}").exists()}
    if before["how"] != how and before["photos"] and any((out / folder).rglob(f"*{suffix}")):
        text = ", ".join(f"{what} {value}" for what, value in before["how"].items())
        raise InputError(f"{out / folder} was made with {text}; give another --out")
    before["how"] = how
    for name, path in photos.items():
        source = str(path.resolve())
        if name in there and before["photos"].get(name, source) != source:
            raise InputError(f"{out / folder / name}{suffix} is of {before['photos'][name]}; give another --out")
        before["photos"][name] = source
    files.write_json(out / "made_of.json", known)
    return {name: path for name, path in photos.items() if name not in there}
