"""report.html: tables, curves and a gallery of masks in one file that needs neither network nor server."""

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from src import compute, count_of, files, metrics
from src.agreement import AGAIN
from src.data.decoding import decode, upright_size
from src.data.folders import class_of
from src.postprocessing import masks
from src.report import pictures

MOST = 300  # photos of a gallery
SIDE = 320  # pixels of the longer side of its pictures: 300 photos with nine masks each then stay under 25 MB
PALETTE = ((0, 0, 0), masks.PALETTE[1], (230, 230, 230))  # of background, subject, not sure
OPACITY = bytes((0, 255, 128))  # of the same: a mask also lights its part of the photo


def cards(photos, index, folders, sure):
    """What the gallery shows of the photos of a data root.

    Args:
        photos: data.PhotoSet. index: of the photos to show. folders: Paths of masks, one a method.
        sure: how certain each mask is, (n,) in [0, 1], or None for each photo.

    Returns:
        list of dicts for `write`, see `_card`.

    Raises:
        InputError: a photo or mask is missing or unreadable.
    """

    def one(i, certainty):
        trimap = masks.read_trimap(photos, i) if photos.truths[i] else None
        found = [masks.read_made(folder / f"{photos.names[i]}.png") for folder in folders]
        kind = photos.breed_names[photos.breeds[i]] if photos.breeds[i] >= 0 else ""
        return _card(photos.paths[i], photos.names[i], kind, found, certainty, trimap)

    with compute.threads() as pool:
        return list(pool.map(one, index, sure))


def write_of_files(photos, out, lead):
    """Write <out>/report.html of photos without a data root: the MOST least certain of those that have a mask.

    Args:
        photos: dict name -> path, of predicted.photos_in. Their first folders are their classes.
        out: Path with masks/<name>.png and maps/<name>.png.
        lead: what these masks are.

    Returns:
        Path of the page.
    """

    def card(name):
        mask = masks.read_made(out / "masks" / f"{name}.png", upright_size(photos[name]))
        heat = masks.read(out / "maps" / f"{name}.png")
        return _card(photos[name], name, class_of(name), [mask], sure[name], heat=heat)

    there = [name for name in photos if all((out / folder / f"{name}.png").is_file() for folder in ("masks", "maps"))]
    sure = {name: pictures.note_of(out / "maps" / f"{name}.png", "certainty") for name in there}
    with compute.threads() as pool:
        gallery = list(pool.map(card, sorted(there, key=sure.get)[:MOST]))
    words = {
        "lead": lead,
        "choice": choice(gallery, there, "the least certain"),
        "certainty": "how well the mask fits the probability that the network gave",
        "map": "that probability, white where it is 1",
    }
    write(out / "report.html", f"Report: {out.name}", gallery, ["mask"], words)
    return out / "report.html"


def choice(shown, among, how):
    """Words for the photos of a gallery: "all 12 photos", or "300 of 5000 photos" and how they were chosen."""
    if len(shown) == len(among):
        return "1 photo" if len(among) == 1 else f"all {count_of(among, 'photo')}"
    return f"{len(shown)} of {count_of(among, 'photo')}, {how}"


def _card(path, name, kind, found, sure, trimap=None, heat=None):
    """dict of name, kind (its class), sure, iou (of each mask, border = pet; None without truth), and as data URIs the
    photo, masks, truth and map (None where there is none)."""  # fmt: skip
    photo = decode(path, max_side=SIDE)
    size, iou, truth = photo.shape[1::-1], None, None
    if trimap is not None:
        counts = np.stack([metrics.confusion(mask == 1, trimap) for mask in found])
        iou = [round(100 * float(value), 1) for value in metrics.per_photo_iou(counts)]
        labels = np.array([0, 1, 0, masks.IGNORE], np.uint8)  # of a trimap's pet, background, border
        truth = _mask_uri(labels[trimap], size)
    return {
        "name": name, "kind": kind, "iou": iou, "sure": None if sure is None else round(100 * float(sure), 1),
        "photo": _uri(Image.fromarray(photo), "JPEG", quality=80), "masks": [_mask_uri(mask, size) for mask in found],
        "truth": truth, "map": None if heat is None else _uri(Image.fromarray(heat), "JPEG", quality=80),
    }  # fmt: skip


def _mask_uri(labels, size):
    """A mask as PNG, two bits a pixel, transparent outside the subject."""
    small = np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    image = Image.fromarray(np.where(small == masks.IGNORE, 2, small == 1).astype(np.uint8))
    image.putpalette([value for colour in PALETTE for value in colour])
    return _uri(image, "PNG", transparency=OPACITY)


def _uri(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def curves(paths):
    """The columns of each metrics.csv below some run directories, as lines in a box of 100 x 40, for `write`."""
    found = []
    for path, file in ((p, f) for p in paths for f in sorted(p.rglob("metrics.csv"))):
        rows = files.read_numbers(file, AGAIN)
        run = " ".join([path.parent.name, *file.parent.relative_to(path).parts])
        for name in [name for name in rows[0] if name not in ("epoch", "seconds")]:
            values = np.array([float(row[name]) for row in rows])
            high = 40 - 40 * (values - values.min()) / (np.ptp(values) or 1)
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(np.linspace(0, 100, len(values)), high, strict=True))
            text = f"{name.replace('_', ' ')} {values[0]:.3g} to {values[-1]:.3g}, {len(values)} epochs"
            found.append({"run": run, "text": text, "points": points})
    return found


def blocks(text):
    """The paragraphs and the tables, as rows of cells, of the Markdown of src/report/tables."""
    found = []
    for part in text.strip().split("\n\n"):
        lines = [line.strip("|").split(" | ") for line in part.splitlines()]
        table = part.startswith("|")
        found.append([[cell.strip() for cell in line] for line in (lines[0], *lines[2:])] if table else part)
    return found


def write(path, title, gallery, methods, words, sections=(), lines=()):
    """Write the page through a temporary file.

    Args:
        gallery: of `cards`. methods: titles of their masks; the last is shown first.
        words: dict of phrases: lead (what this is), choice (which photos), certainty and map (what they are).
        sections: list of (heading, Markdown of src/report/tables). lines: of `curves`.
    """
    # Names of photos and classes come from strangers' folders: autoescape, and tojson for the script's data.
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = template.get_template("page.html.j2").render(
        title=title, gallery=gallery, methods=methods, words=words, lines=lines,
        sections=[(heading, blocks(markdown)) for heading, markdown in sections if markdown],
        kinds=sorted({card["kind"] for card in gallery}), scored=any(card["iou"] for card in gallery),
        sure=any(card["sure"] is not None for card in gallery),
        truths=any(card["truth"] for card in gallery),
        maps=len(methods) > 1 or any(card["map"] for card in gallery),
    )  # fmt: skip
    with files.writing(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
