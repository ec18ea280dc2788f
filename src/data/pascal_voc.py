"""The Pascal VOC layout: JPEGImages, ImageSets, Annotations and SegmentationClass (Everingham et al., IJCV 2010)."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from src import InputError, count_of, few, files
from src.data.decoding import photos_by_stem
from src.data.folders import photos_below
from src.data.photos import Listing
from src.data.splitting import splits_of


def fits(root):
    """Whether a folder, or the one that the official archive unpacks, has this layout."""
    return bool(_bases(root))


def _bases(root):
    """The folder itself, or those of the years below it."""
    if (root / "JPEGImages").is_dir():
        return [root]
    below = [*sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    return [path for path in below if (path / "JPEGImages").is_dir()]


def listing(root, skip):
    """Read the lists and the XML; masks are not opened.

    train.txt trains and val.txt tests, or trainval.txt and test.txt; lists of ImageSets/Segmentation go before Main.
    Where there is only a list that tests, all other photos train. Without lists a hash of its name puts every fifth
    photo into test. Photos of several classes have none.

    Raises:
        InputError: a listed photo is missing (unless skip), an XML file is damaged, or there are several years.
    """
    base, *others = _bases(root)
    if others:
        raise InputError(f"{root} has {few([path.name for path in (base, *others)])}; give one of them")
    there = photos_by_stem(base / "JPEGImages")
    if nested := [path.name for path in photos_below(base / "JPEGImages") if path.parent != base / "JPEGImages"]:
        print(f"left out {count_of(nested, 'photo')} in subfolders of {base / 'JPEGImages'}: {few(nested)}", flush=True)
    splits = _splits(base / "ImageSets", there) or splits_of(there)
    missing = [name for name in splits if name not in there]
    if missing:
        text = f"{count_of(missing, 'listed photo')} missing in {base / 'JPEGImages'}: {few(missing)}"
        if not skip:
            raise InputError(f"{text}; --skip-bad-photos leaves them out")
        print(f"left out {text}", flush=True)
    names = [name for name in splits if name in there]
    shown = [_classes(base / "Annotations" / f"{name}.xml") for name in names]
    several = sum(len(classes) > 1 for classes in shown)
    if several:
        print(f"{several} of {len(names)} photos show several classes: they train what asks for no class", flush=True)
    labels = [classes.pop() if len(classes) == 1 else None for classes in shown]
    order = {name: name for name in sorted(set(filter(None, labels)))}
    masks = base / "SegmentationClass"
    truths = [masks / f"{name}.png" for name in names]
    return Listing(
        names=names,
        paths=[there[name] for name in names],
        splits=[splits[name] for name in names],
        species=labels,
        breeds=labels,
        species_names=order,
        breed_names=order,
        truths=[path if path.is_file() else None for path in truths],
        trimaps=False,
    )


def _name(line, there):
    """The name of a list's line, which may have spaces, a suffix, and a number after it in a list of one class."""
    before = line.rpartition(" ")[0].strip() or line
    for name in (line, before):
        if name in there:
            return name
        if Path(name).stem in there and there[Path(name).stem].name == name:
            return Path(name).stem
    return before


def _splits(folder, there):
    """dict name -> split of the lists; empty without any."""
    pairs = [
        {"trainval": folder / kind / f"{train}.txt", "test": folder / kind / f"{test}.txt"}
        for kind in ("Segmentation", "Main")
        for train, test in (("train", "val"), ("trainval", "test"))
    ]
    pair = next((p for split in ("trainval", "test") for p in pairs if p[split].is_file()), None)
    if pair is None:
        return {}
    named = {
        split: [_name(line.strip(), there) for line in files.read_text(path).splitlines() if line.strip()]
        for split, path in pair.items()
        if path.is_file()
    }
    if "trainval" not in named:
        named["trainval"] = [name for name in there if name not in named["test"]]
    if twice := sorted(set(named["trainval"]) & set(named.get("test", ()))):
        raise InputError(f"{few(twice)} in both {pair['trainval']} and {pair['test'].name}")
    return {name: split for split, names in named.items() for name in names}


def _classes(path):
    """The set of class names in an annotation; empty where there is no file."""
    try:
        files.check_is_file(path)
        found = {o.findtext("name", "").strip() for o in ElementTree.parse(path).iter("object")} - {""}
        if "background" in found:
            raise ValueError("background is no class: it is what all photos without a subject show")
        return found
    except FileNotFoundError:
        return set()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise InputError(f"{path}: {error}") from None
