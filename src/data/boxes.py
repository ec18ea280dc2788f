"""Bounding boxes of whole subjects, a second weak label: from Pascal VOC's XML, COCO's JSON or YOLO's text."""

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np

from src import InputError, check_choice, count_of, files, runs
from src.data.decoding import upright_size

SUPERVISIONS = ("labels", "boxes")


def boxes_of(settings, photos, supervision, for_oxford):
    """Boxes of the trainval photos; test photos are never given theirs.

    They are looked for in COCO files (<root>/*.json or <root>/annotations/*.json), XML (Annotations/<name>.xml or
    beside the photo) and YOLO text (labels/<name>.txt or beside the photo); the first that has boxes of a photo counts.

    Args:
        photos: a PhotoSet.
        supervision: "labels", which gives none, or "boxes".
        for_oxford: the script whose run has boxes for Oxford-IIIT Pet, whose own are of heads.

    Returns:
        dict photo's index -> float array (K, 4) of left, top, right, bottom as fractions of the upright photo.
        Photos without boxes are left out: they have image-level labels alone.

    Raises:
        InputError: no trainval photo has a box, a file is damaged, or that run is missing.
    """
    check_choice("supervision", supervision, SUPERVISIONS)
    if supervision == "labels":
        return {}
    derived = [runs.upstream(settings, for_oxford) / "boxes.json"] if photos.trimaps else []
    of_names = _read_coco(derived or _coco_files(photos.root))
    pets = photos.names[: len(photos.names) - len(photos.background)]
    stems = Counter(Path(name).name for name in pets)  # a bare name may be that of several photos
    found = {}
    for i in map(int, photos.trainval):
        name, path = photos.names[i], photos.paths[i]
        alone = stems[Path(name).name] == 1
        some = _of_image(path, of_names.get(name) or (of_names.get(Path(name).name) if alone else None))
        if not some and not derived:
            some = _read_xml(path, photos.root, name, alone) or _read_yolo(path, photos.root, name)
        boxes = np.array(some or [], float).reshape(-1, 4).clip(0, 1)
        boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
        if some and not len(boxes):
            raise InputError(f"none of the {len(some)} box(es) of {path} lies in the photo; YOLO's are fractions of it")
        if len(boxes):
            found[i] = boxes
    if not found:
        raise InputError(f"no trainval photo of {photos.root} has a box; see data/README.md")
    without = len(photos.trainval) - len(found)
    settings.photos["boxes"] = files.digest_of([(i, boxes.tolist()) for i, boxes in found.items()])
    print(f"{count_of(found, 'photo')} with boxes, {without} with image-level labels alone", flush=True)
    return found


def _coco_files(root):
    return [path for folder in (root, root / "annotations") for path in sorted(folder.glob("*.json"))]


def _read_coco(paths):
    """COCO instance files, crowds left out.

    Returns:
        dict photo's name without suffix -> dict (image's id, its size) -> list of boxes. An image may be in several
        files, as COCO's own with instances and with key points are.
    """
    found = {}
    for path in paths:
        try:
            content = json.loads(files.read_text(path))
            if not isinstance(content, dict) or not {"images", "annotations"} & content.keys():
                continue  # other JSON beside the photos
            images = {image["id"]: image for image in content["images"]}
            for annotation in content["annotations"]:
                if not annotation.get("iscrowd") and "bbox" in annotation:
                    image, (x, y, w, h) = images[annotation["image_id"]], annotation["bbox"]
                    size = image["width"], image["height"]
                    box = x / size[0], y / size[1], (x + w) / size[0], (y + h) / size[1]
                    name = Path(image["file_name"]).with_suffix("").as_posix()
                    found.setdefault(name, {}).setdefault((image["id"], size), []).append(box)
        except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise InputError(f"{path} is no COCO file of boxes ({type(error).__name__}: {error})") from None
    return found


def _of_image(photo, images):
    """Boxes of a photo among the COCO images of its name."""
    if not images:
        return []
    if len(images) > 1:
        numbers = " and ".join(str(number) for number, _ in list(images)[:2])
        raise InputError(f"COCO's images {numbers} are both named as {photo}; give each its path below the data root")
    ((_, size), boxes) = next(iter(images.items()))
    if text := _lying(size, upright_size(photo)):
        raise InputError(f"COCO's image of {photo}: {text}")
    return boxes


def _lying(size, real):
    """What is wrong where boxes were drawn on a photo before EXIF turned it; empty if they were not."""
    if not size == real[::-1] != real:
        return ""
    return f"boxes of the photo as it lies, {size[0]} x {size[1]}; it is {real[0]} x {real[1]}"


def _read_xml(photo, base, name, alone):
    """Boxes of a Pascal VOC annotation, whose pixels count from 1; none where there is no file."""
    tries = [base / "Annotations" / f"{name}.xml", photo.with_suffix(".xml")]
    if photo.parent != base and alone:  # VOC's own place, beside JPEGImages
        tries.insert(1, photo.parent.parent / "Annotations" / f"{photo.stem}.xml")
    for path in tries:
        if path.exists():
            try:
                files.check_is_file(path)
                root = ElementTree.parse(path)
                size = int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)
                real = upright_size(photo)
                if text := _lying(size, real):
                    raise ValueError(text)
                width, height = size if all(size) else real
                sides = [[float(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax")]
                         for box in root.iterfind("object/bndbox")]  # fmt: skip
                return [((x0 - 1) / width, (y0 - 1) / height, x1 / width, y1 / height) for x0, y0, x1, y1 in sides]
            except (ElementTree.ParseError, OSError, TypeError, ValueError, LookupError, ArithmeticError) as error:
                raise InputError(f"{path}: {error}") from None
    return []


def _read_yolo(photo, base, name):
    """Boxes of lines "class x y width height", centre and size as fractions of the photo; none without a file."""
    found, twin = [], name.split("/")
    if "images" in twin:  # YOLO's own place: images/train/a.jpg, labels/train/a.txt
        twin[len(twin) - 1 - twin[::-1].index("images")] = "labels"
    for path in (base / "labels" / f"{name}.txt", base / f"{'/'.join(twin)}.txt", photo.with_suffix(".txt")):
        if path.is_file():
            for number, line in enumerate(files.read_text(path).splitlines(), 1):
                try:
                    if words := line.split():
                        x, y, w, h, *_ = map(float, words[1:])
                        if len(words) > 6:  # a sixth number is a detector's score; more are outlines or key points
                            raise ValueError
                        found.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
                except ValueError:
                    raise InputError(f"{path}, line {number}: expected 'class x y width height'") from None
            return found
    return found
