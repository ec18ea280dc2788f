"""Opening a data root of any layout."""

from pathlib import Path

import numpy as np

from src import InputError, check_choice, distributed, files
from src.data import cache, download, folders, oxford_pets, pascal_voc
from src.data.photos import PhotoSet, Pixels

LAYOUTS = {"oxford": oxford_pets, "voc": pascal_voc, "folders": folders}  # the first that fits


def load(settings, background=False, pixels=True, test_only=False):
    """Open the photos of settings.data_root, decoding them into the cache the first time.

    Args:
        settings: of cli.override; data_root, layout, runs_root, image_size and skip_bad_photos are used.
        background: also load the subject-free photos of <data_root>/background.
        pixels: decode the photos; whoever wants only names and ground truths need not wait for that.
        test_only: leave trainval empty, for stages that only score.

    Returns:
        PhotoSet; ground truths are not touched. settings.photos becomes the digests of photos and scenes, by which runs
        tell that names, labels, splits or pixels were changed.

    Raises:
        InputError: no photos there, lists and photos do not match, or photos cannot be read.
    """
    with distributed.main_process_first():
        photos = _load(settings, background, pixels)
    return photos.only_test() if test_only else photos


def layout_of(root, layout="auto"):
    """Name of a data root's layout.

    Raises:
        InputError: none fits, or not the one that is insisted on.
    """
    check_choice("layout", layout, ("auto", *LAYOUTS))
    for name in LAYOUTS if layout == "auto" else [layout]:
        if LAYOUTS[name].fits(root):
            return name
    if layout == "auto":
        raise InputError(f"no photos in the data root {root}")
    raise InputError(f"the data root {root} does not have the layout {layout}; see data/README.md")


def has_scenes(root):
    """Whether there is a photo anywhere below <root>/background."""
    return any(folders.photos_below(root / "background"))


def scenes_of(root):
    """Photos anywhere below <root>/background.

    Raises:
        InputError: there are none.
    """
    found = sorted(folders.photos_below(root / "background")) if (root / "background").is_dir() else []
    if not found:
        raise InputError(f"no background photos in {root / 'background'}")
    return found


def _load(settings, background, pixels):
    root = download.prepare(Path(settings.data_root), background)
    layout = LAYOUTS[layout_of(root, settings.layout)]
    runs_root = files.resolved(settings.runs_root)
    if layout is folders and files.resolved(root) in (runs_root, *runs_root.parents):
        raise InputError(f"the runs root {runs_root} lies among the photos; give another --runs-root")
    listing = layout.listing(root, settings.skip_bad_photos)
    scenes = scenes_of(root) if background else []
    open_cache = cache.decoded if pixels else cache.unread
    good, pet_pixels, sums = open_cache(listing.paths, settings)
    rows = np.flatnonzero(good)
    names = [listing.names[i] for i in rows]
    good, scene_pixels, scene_sums = open_cache(scenes, settings)
    scenes = [path for path, ok in zip(scenes, good, strict=True) if ok]
    split = np.array([listing.splits[i] for i in rows])
    if pixels:
        labels = [[listing.splits[i], listing.species[i], listing.breeds[i]] for i in rows]
        settings.photos["photos"] = files.digest_of(names, labels, sums)
    if pixels and background:
        settings.photos["background scenes"] = files.digest_of([path.name for path in scenes], scene_sums)
    if "trainval" not in split:
        raise InputError(f"no trainval photo in {root}")
    species, species_names = _indices([listing.species[i] for i in rows], listing.species_names, len(scenes))
    breeds, breed_names = _indices([listing.breeds[i] for i in rows], listing.breed_names, len(scenes))
    return PhotoSet(
        root=root,
        names=names + [path.stem for path in scenes],
        paths=[listing.paths[i] for i in rows] + scenes,
        species=species,
        breeds=breeds,
        species_names=species_names,
        breed_names=breed_names,
        trainval=np.flatnonzero(split == "trainval"),
        test=np.flatnonzero(split == "test"),
        background=np.arange(len(rows), len(rows) + len(scenes)),
        pixels=Pixels([pet_pixels, scene_pixels]),
        truths=[listing.truths[i] for i in rows] + [None] * len(scenes),
        trimaps=listing.trimaps,
    )


def _indices(keys, names, backgrounds):
    """Class keys to indices 0..K-1, -1 for None, with K for the background photos that follow; and the K names."""
    seen = set(keys)
    present = [key for key in names if key in seen]
    index = {key: i for i, key in enumerate(present)} | {None: -1}
    found = [index[key] for key in keys] + [len(present)] * backgrounds
    return np.array(found, dtype=np.int64), [names[key] for key in present]
