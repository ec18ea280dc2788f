"""Folders of photos: one subfolder a class or none, train/ and test/ above them, background/ and masks/ beside them."""

from src import InputError, few
from src.data.decoding import is_photo
from src.data.photos import Listing
from src.data.splitting import split_of

SPLITS = {"train": "trainval", "test": "test"}  # name of the folder -> split
RESERVED = ("background", "masks", *SPLITS)


def fits(root):
    """Whether there is any photo below a folder."""
    return next(photos_below(root), None) is not None


def photos_below(folder):
    """Paths of the photos of a folder and its subfolders, hidden ones left out."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
        if not hidden and is_photo(path) and path.is_file():
            yield path


def listing(root, skip):  # noqa: ARG001 - every layout's listing has it; folders cannot disagree with a list
    """List the photos; without train/ and test/, a hash of its name puts every fifth photo into test.

    Masks for evaluation are masks/<the photo's path>.png, with or without train/ or test/ and the class before it.

    Raises:
        InputError: photos beside subfolders with photos, or two photos of one name.
    """
    given = [name for name in SPLITS if (root / name).is_dir()]
    found = {}
    for base in [root / name for name in given] or [root]:
        for path in sorted(photos_below(base)):
            inside = path.relative_to(base)
            if given or inside.parts[0] not in RESERVED:
                name = path.relative_to(root).with_suffix("").as_posix()
                if name in found:
                    raise InputError(f"two photos are named {name}: {found[name][0].name} and {path.name}; rename one")
                found[name] = (path, inside)
    classes = {inside.parts[0] if len(inside.parts) > 1 else "" for _, inside in found.values()}
    if len(classes) > 1 and "" in classes:
        loose = [path.name for path, inside in found.values() if len(inside.parts) == 1]
        raise InputError(f"{root} has photos beside subfolders of photos ({few(loose)}); move them into a subfolder")
    labels = [inside.parts[0] if len(inside.parts) > 1 else "subject" for _, inside in found.values()]
    order = {name: name for name in sorted(set(labels))}
    return Listing(
        names=list(found),
        paths=[path for path, _ in found.values()],
        splits=[SPLITS[name.split("/")[0]] if given else split_of(name) for name in found],
        species=labels,
        breeds=labels,
        species_names=order,
        breed_names=order,
        truths=[_mask(root / "masks", name) for name in found],
        trimaps=False,
    )


def _mask(folder, name):
    """The mask of a photo: at its whole relative path, or with the leading folders left out; None if there is none."""
    parts = name.split("/")
    tries = (folder / "/".join([*parts[k:-1], f"{parts[-1]}.png"]) for k in range(len(parts)))
    return next((path for path in tries if path.is_file()), None)
