"""Masks in the forms that other tools read: COCO with run lengths, and Pascal VOC as CVAT has it."""

import csv
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from src import InputError, check_choice, compute, few, files
from src.data import decoding, folders
from src.postprocessing import masks

KINDS = ("coco", "voc")
SUBJECT = "subject"  # the category where there are no classes
LONGEST = 200  # bytes of a VOC name, whatever the depth of its folders: systems allow 255 with the suffix
UNSAFE = r'[\s/\\:*?"<>|#\x00-\x1f\ud800-\udfff]+'  # in a VOC name: what lists, zip archives and systems do not take


@dataclass(frozen=True)
class Item:
    """A photo with its mask.

    Args:
        name: of the photo for other tools, relative with "/" and suffix. photo, mask: paths; the mask is a PNG of
            0 background, 1 subject, 255 unsure at the photo's own size. category: what the subject is.
    """

    name: str
    photo: Path
    mask: Path
    category: str


def categories(names):
    """The category of photos that are known by their name alone.

    It is that of `folders.class_of`, and "subject" for all where one of them is in no folder.

    Returns:
        dict name -> category.

    Raises:
        InputError: photos in a folder that means no class in a data root.
    """
    found = {name: folders.class_of(name) for name in names}
    if not all(found.values()):
        return dict.fromkeys(names, SUBJECT)
    for name in folders.RESERVED:
        if name in found.values():
            raise InputError(f"the folder {name} is no class (data/README.md); give the folders of the classes instead")
    return found


def of_predictions(photos, folder):
    """Items of those photos that have a mask in a folder; their `categories` are their folders, or it says why not.

    Args:
        photos: dict name -> path of the photo, of predicted.photos_in. folder: Path; masks are <name>.png in it.
    """
    there = [name for name in photos if (folder / f"{name}.png").is_file()]
    loose = [name for name in there if not folders.class_of(name)]
    if 0 < len(loose) < len(there):
        print(f"one category for all: {few(loose)} in no folder of a class", file=sys.stderr)
    return [
        Item(PurePath(name).with_name(photos[name].name).as_posix(), photos[name], folder / f"{name}.png", category)
        for name, category in categories(there).items()
    ]


def of_photos(photos, index, folder):
    """Items of the photos of a data.PhotoSet at these indices; the category is the class, or "subject" without one."""
    found = []
    for i in index:
        name, label = PurePath(photos.names[i]), photos.breeds[i]
        category = photos.breed_names[label] if 0 <= label < len(photos.breed_names) else SUBJECT
        mask = Path(folder) / f"{name}.png"
        found.append(Item(name.with_name(photos.paths[i].name).as_posix(), photos.paths[i], mask, category))
    return found


def check(kind, names=()):
    """Raise InputError for a kind that is unknown or lacks its package, or names without `categories`: before work.

    The kind may be empty, for no export.
    """
    if not kind:
        return
    check_choice("export", kind, KINDS)
    categories(names)
    if kind == "coco":
        _pycocotools()


def write(kind, out, items):
    """Write masks for other tools, whole or not at all; an earlier export there is replaced.

    Args:
        kind: of KINDS. out: Path of a folder: <out>/coco/annotations/instances_default.json, as CVAT names it, or
            <out>/voc for torchvision's VOCSegmentation with <out>/voc/VOCdevkit/VOC2012 for CVAT. items: list of Item.

    Returns:
        Path of what was written.

    Raises:
        InputError: nothing to export, a mask of another size than its photo, or another folder stands in its place.
    """
    check(kind)
    if not items:
        raise InputError("no masks to export")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    return {"coco": _write_coco, "voc": _write_voc}[kind](out, items)


def _pycocotools():
    try:
        import pycocotools.mask
    except ImportError:
        raise InputError("--export coco needs a package: pip install pycocotools") from None
    return pycocotools.mask


def _labels(item):
    """The mask of an item, uint8 (H, W)."""
    return masks.read_made(item.mask, decoding.upright_size(item.photo))


def _write_coco(out, items):
    """A category a class and an annotation a photo, whatever the parts of its subject; ids count from 1."""
    codec = _pycocotools()

    def encode(item):
        subject = _labels(item) == 1
        return subject.shape, codec.encode(np.asfortranarray(subject, np.uint8))

    numbers = {name: k for k, name in enumerate(sorted({item.category for item in items}), 1)}
    images, annotations = [], []
    with compute.threads() as pool:
        for k, (item, ((height, width), code)) in enumerate(zip(items, pool.map(encode, items), strict=True), 1):
            images.append({"id": k, "file_name": item.name, "width": width, "height": height})
            area = int(codec.area(code))
            if area:
                annotations.append({
                    "id": len(annotations) + 1, "image_id": k, "category_id": numbers[item.category], "area": area,
                    "bbox": codec.toBbox(code).tolist(), "iscrowd": 0,
                    "segmentation": {"size": [height, width], "counts": code["counts"].decode("ascii")},
                })  # fmt: skip
    classes = [{"id": k, "name": name, "supercategory": SUBJECT} for name, k in numbers.items()]
    path = out / "coco" / "annotations" / "instances_default.json"
    files.write_json(path, {"images": images, "annotations": annotations, "categories": classes})
    return path


def _write_voc(out, items):
    """Masks of class indices in VOC's colours, upright JPEGs beside them, and photos.csv with the photos' own names."""
    classes = sorted({item.category for item in items})
    if len(classes) >= masks.IGNORE:
        raise InputError(f"{len(classes)} classes do not fit into a VOC mask of {masks.IGNORE - 1}; export coco")
    with files.replacing(out / "voc", "photos.csv") as folder:
        _fill_voc(folder, items, classes)
    return out / "voc"


def _fill_voc(folder, items, classes):
    base = folder / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (base / name).mkdir(parents=True)
    names = flat_names([item.name for item in items])
    palette = {k: voc_colour(k) for k in range(256)}

    def save(item, name):
        labels = _labels(item)
        values = np.where(labels == 1, classes.index(item.category) + 1, labels)  # 0 and 255 mean the same in VOC
        masks.save(base / "SegmentationClass" / f"{name}.png", values.astype(np.uint8), palette)
        masks.save(base / "SegmentationObject" / f"{name}.png", (labels == 1).astype(np.uint8), palette)
        _save_jpeg(item.photo, base / "JPEGImages" / f"{name}.jpg")

    with compute.threads() as pool:
        list(pool.map(save, items, names))
    # One list: CVAT takes a photo that is in two lists twice. "train" is a name that torchvision knows.
    (base / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    for k, name in enumerate(_label_names(classes), 1):
        lines.append(f"{name}:{','.join(map(str, voc_colour(k)))}::")
    (base / "labelmap.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
    with (folder / "photos.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([("name", "photo"), *zip(names, [item.name for item in items], strict=True)])


def _label_names(classes):
    """The classes as labelmap.txt can hold them: one line each, none twice."""
    found = []
    for name in classes:
        plain = re.sub(r"[:#\s]", lambda sign: " " if sign[0] == " " else "_", name)
        found.append(f"{plain}_{len(found) + 1}" if plain in found else plain)
    return found


def _save_jpeg(photo, path):
    """Copy a photo that every reader sees alike; others, turned by EXIF too, become an upright JPEG of RGB."""
    with Image.open(photo, formats=decoding.FORMATS) as image:
        plain = image.format == "JPEG" and image.mode == "RGB" and decoding.orientation(image) in (None, 1)
    if plain:
        shutil.copyfile(photo, path)
    elif max(image.size) > decoding.JPEG_SIDE:
        raise InputError(
            f"{photo} is longer than the {decoding.JPEG_SIDE} pixels of a JPEG; leave it out, or export coco"
        )
    else:
        Image.fromarray(decoding.decode(photo)).save(path, format="JPEG", quality=95)


def flat_names(names):
    """A name without folders, spaces and suffix for each photo, in any script; equal ones are numbered.

    >>> flat_names(["mugs/a b.jpg", "mugs/a b.png", "mugs_a/b.jpg"])
    ['mugs_a_b', 'mugs_a_b_2', 'mugs_a_b_3']
    """
    found, taken = [], set()
    for name in names:
        plain = re.sub(UNSAFE, "_", str(PurePath(name).with_suffix("")))
        plain = plain.encode()[-LONGEST:].decode(errors="ignore")
        unique, number = plain, 1
        while unique.casefold() in taken:  # some systems take capital letters for small ones
            number += 1
            unique = f"{plain}_{number}"
        taken.add(unique.casefold())
        found.append(unique)
    return found


def voc_colour(label):
    """Pascal VOC's colour of a label in 0..255: its bits go to red, green and blue in turns, highest first."""
    return tuple(sum((label >> (3 * k + channel) & 1) << (7 - k) for k in range(3)) for channel in range(3))
