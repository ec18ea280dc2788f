"""Curves, previews and the sheet that compares all methods. Colours are Okabe and Ito's, told apart by everyone."""

import csv

import matplotlib

matplotlib.use("Agg")  # no window is ever opened

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from src import images, masks, metrics  # noqa: E402

BLUE, ORANGE, GREY = (0, 114, 178), (230, 159, 0), (150, 150, 150)


def curves(run_path):
    """Draw every column of metrics.csv over the epochs into curves.png."""
    with (run_path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("epoch", "seconds")]
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        axis.plot([int(row["epoch"]) for row in rows], [float(row[name]) for row in rows], color="#0072B2", marker=".")
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
    _save(figure, run_path / "curves.png")


def overlay(photo, labels):
    """Photo (H, W, 3) with the pet in full colour and the rest blue-grey, an orange outline, uncertain pixels grey."""
    pet, unsure = (labels == 1)[..., None], (labels == masks.IGNORE)[..., None]
    shown = np.where(pet, photo, 0.35 * photo + 0.65 * (0.5 * np.array(BLUE) + 20))
    shown = np.where(unsure, 0.5 * photo + 0.5 * np.array(GREY), shown)
    inside = pet[..., 0]
    edge = np.zeros_like(inside)  # pixels with a neighbour on the other side
    across, down = inside[:, 1:] != inside[:, :-1], inside[1:] != inside[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return np.where(edge[..., None], ORANGE, shown).astype(np.uint8)


def preview(run, photos, index, folders, rows=6):
    """preview.png of a mask stage: some photos, and their mask from each folder of the run."""
    index = _spread(index, rows)
    columns = [("photo", None)] + [(folder.replace("_", " "), run.path / folder) for folder in folders]
    figure, axes = plt.subplots(len(index), len(columns), figsize=(2.4 * len(columns), 2.2 * len(index)), squeeze=False)
    for i, line in zip(index, axes, strict=True):
        photo = images.decode(photos.paths[i])
        for axis, (title, folder) in zip(line, columns, strict=True):
            axis.axis("off")
            shown = photo if folder is None else overlay(photo, masks.read(folder / f"{photos.names[i]}.png"))
            axis.imshow(shown)
            axis.set_title(photos.names[i] if folder is None else title, fontsize=8)
    _save(figure, run.path / "preview.png")


def sheet(path, photos, index, columns, rows=8):
    """The comparison: a row a photo, a column a method, IoU (border = pet) under each mask.

    Args:
        path: of the PNG.
        columns: list of (title, function: photo index to labels (H, W), or None for the photo itself).
        rows: number of photos, spread over `index`.
    """
    index = _spread(index, rows)
    figure, axes = plt.subplots(len(index), len(columns), figsize=(1.9 * len(columns), 2 * len(index)), squeeze=False)
    for i, line in zip(index, axes, strict=True):
        photo = images.decode(photos.paths[i])
        trimap = masks.read_trimap(photos.trimap_path(i)) if photos.has_trimaps() else None
        for axis, (title, labels_of) in zip(line, columns, strict=True):
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if axis in axes[0]:
                axis.set_title(title, fontsize=10)
            if labels_of is None:
                axis.imshow(photo)
                axis.set_xlabel(photos.names[i], fontsize=7)
                continue
            labels = labels_of(i)
            axis.imshow(overlay(photo, labels))
            if trimap is not None:
                iou = metrics.per_photo_iou(metrics.confusion(labels == 1, trimap)[None])[0]
                axis.set_xlabel(f"IoU {100 * iou:.0f} %", fontsize=9)
    _save(figure, path)


def _spread(index, count):
    """`count` of the indices, evenly spread, so that the choice is the same for every method and favours none."""
    return np.asarray(index)[np.linspace(0, len(index) - 1, min(count, len(index))).astype(int)]


def _save(figure, path):
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=110)
    plt.close(figure)
