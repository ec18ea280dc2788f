"""Curves, previews and the sheet that compares all methods. Colours are Okabe and Ito's, told apart by everyone."""

import os

os.environ["MPLBACKEND"] = "Agg"  # no window is ever opened, whatever the shell asks for

import matplotlib  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib import font_manager  # noqa: E402
from PIL import Image, PngImagePlugin  # noqa: E402

from src import InputError, distributed, files, metrics  # noqa: E402
from src.data.decoding import JPEG_SIDE, decode, in_words  # noqa: E402
from src.postprocessing import masks  # noqa: E402

PANEL = 512  # pixels of the longer side of a photo on a sheet
TITLE = 0.15  # height of a sheet's titles, where a cell has 1
SUFFIXES = (".png", ".jpg", ".svg", ".pdf")  # of figures
BLUE, ORANGE, GREY = (0, 114, 178), (230, 159, 0), (150, 150, 150)


def curves(run_path):
    """Draw every column of metrics.csv over the epochs into curves.png."""
    rows = files.read_numbers(run_path / "metrics.csv")
    names = [name for name in rows[0] if name not in ("epoch", "seconds")]
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        axis.plot([int(row["epoch"]) for row in rows], [float(row[name]) for row in rows], color="#0072B2", marker=".")
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
    figure.tight_layout(pad=0.4)
    _save(figure, run_path / "curves.png")


def overlay(photo, labels):
    """Photo (H, W, 3) with the pet in full colour and the rest blue-grey, an orange outline, uncertain pixels grey."""
    pet, unsure = (labels == 1)[..., None], (labels == masks.IGNORE)[..., None]
    shown = np.where(pet, photo, 0.35 * photo + 0.65 * (0.5 * np.array(BLUE) + 20))
    shown = np.where(unsure, 0.5 * photo + 0.5 * np.array(GREY), shown)
    return np.where(_outline(labels == 1)[..., None], ORANGE, shown).astype(np.uint8)


def _outline(mask):
    """The pixels of a mask (H, W) whose neighbour above, below or beside is on the other side, bool (H, W)."""
    edge = np.zeros(mask.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        change = mask[one] != mask[other]
        edge[one] |= change
        edge[other] |= change
    return edge


def save_overlay(path, photo, mask):
    """Write the photo with a mask over it, JPEG; like `overlay`, but in bytes, because photos may be large.

    Args:
        photo: uint8 (H, W, 3). mask: bool (H, W).
    """
    photo = Image.fromarray(photo)
    shown = photo.point([round(0.35 * value + 0.65 * (c // 2 + 20)) for c in BLUE for value in range(256)])
    shown.paste(photo, mask=Image.fromarray(255 * mask.astype(np.uint8)))
    shown.paste(ORANGE, mask=Image.fromarray(255 * _outline(mask).astype(np.uint8)))
    _save_jpeg(path, shown)


def save_cutout(path, photo, mask):
    """Write the photo, transparent outside its mask, PNG. Arguments as for `save_overlay`."""
    cut = Image.fromarray(photo)
    cut.putalpha(Image.fromarray(255 * mask.astype(np.uint8)))
    _save_image(path, cut, "PNG", compress_level=1)


def save_map(path, prob, size, side, **notes):
    """Write a probability (h, w) in [0, 1] as a grey PNG with the shape of a photo of this size, `side` pixels long.

    Args:
        notes: numbers that the file also holds, for `note_of`.
    """
    info = PngImagePlugin.PngInfo()
    for name, value in notes.items():
        info.add_text(name, str(value))
    shape = [max(1, round(pixels * min(1, side / max(size)))) for pixels in size]
    image = Image.fromarray((255 * prob).round().astype(np.uint8)).resize(shape, Image.Resampling.BILINEAR)
    _save_image(path, image, "PNG", pnginfo=info)


def note_of(path, name):
    """A number that `save_map` put into a file; 0 where it has none of that name.

    Raises:
        InputError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return float(image.info.get(name, 0))
    except ValueError:
        return 0.0
    except Exception as error:  # of a dozen types, for a damaged file
        raise InputError(f"no readable map {path} ({in_words(error)}); delete it, and it is made again") from None


def save_heat(path, photo, heat):
    """Write the photo under a map (S, S) in [0, 1] of any size, JPEG: dark blue to yellow, half transparent."""
    large = Image.fromarray(heat.astype(np.float32)).resize(photo.shape[1::-1], Image.Resampling.BILINEAR)
    colours = matplotlib.colormaps["viridis"](np.asarray(large), bytes=True)[..., :3]
    _save_jpeg(path, Image.blend(Image.fromarray(photo), Image.fromarray(colours), 0.5))


def _save_jpeg(path, image):
    image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    _save_image(path, image, "JPEG", quality=90)


def _save_image(path, image, kind, **options):
    with files.writing(path) as file:
        image.save(file, format=kind, **options)


def preview(run, photos, folders):
    """preview.png of a mask stage: some photos, and their mask from each folder of the run."""
    if distributed.rank() == 0:
        index = np.concatenate([photos.test, photos.trainval])
        columns = [(folder.replace("_", " "), run.path / folder) for folder in folders]
        sheet(run.path / "preview.png", photos, index, columns, rows=6)


def sheet(path, photos, index, columns, rows=8):
    """A row a photo, a column a folder of masks, and the ground truth; IoU (border = pet) under each mask.

    Args:
        path: of the figure, a PNG or another of SUFFIXES.
        columns: list of (title, folder of masks).
        rows: number of photos, spread over `index`.
    """
    index, truth = spread(index, rows), photos.has_truths()
    titles = ["photo", *(title for title, _ in columns), *(["ground truth"] if truth else [])]
    figure = plt.figure(figsize=(1.9 * len(titles), 1.9 * (len(index) + TITLE)))
    axis = figure.add_axes((0, 0, 1, 1))  # one for all pictures: an axis each takes most of the time of a short stage
    axis.set_axis_off()
    for place, title in enumerate(titles):
        axis.text(place + 0.5, -0.03, title, fontsize=10, ha="center", va="bottom")
    for row, i in enumerate(index):
        photo = decode(photos.paths[i], max_side=PANEL)  # a row of 50 megapixels would take gigabytes
        _show(axis, row, 0, photo, _printable(photos.names[i]), fontsize=7)
        trimap = masks.read_trimap(photos, i) if photos.truths[i] else None
        for place, (_, folder) in enumerate(columns, 1):
            labels = masks.read_made(folder / f"{photos.names[i]}.png")
            iou = None if trimap is None else metrics.per_photo_iou(metrics.confusion(labels == 1, trimap)[None])[0]
            text = "" if iou is None else f"IoU {100 * iou:.0f} %"
            _show(axis, row, place, overlay(photo, _at(photo, labels)), text, fontsize=9)
        if trimap is not None:
            pet = (trimap != metrics.BACKGROUND).astype(np.uint8)
            _show(axis, row, len(titles) - 1, overlay(photo, _at(photo, pet)))
    axis.set(xlim=(0, len(titles)), ylim=(len(index), -TITLE))
    options = {"pil_kwargs": {"compress_level": 1}} if path.suffix == ".png" else {}
    _save(figure, path, **options)


def _show(axis, row, column, picture, text="", fontsize=9):
    """A picture (H, W, 3) with a line below it in a cell of a sheet, whose cells are 1 wide and 1 high."""
    height, width = (0.9 * side / max(picture.shape[:2]) for side in picture.shape[:2])
    left, top = column + (1 - width) / 2, row + (0.9 - height) / 2
    axis.imshow(picture, extent=(left, left + width, top + height, top), interpolation="antialiased")
    below = {"fontsize": fontsize, "va": "top", "parse_math": False}
    if column:
        axis.text(column + 0.5, top + height + 0.01, text, ha="center", **below)
    else:  # a name, which may be long
        axis.text(left, top + height + 0.01, text, ha="left", **below)


def _printable(name):
    """A name with the signs that the font lacks, such as Chinese ones, as their numbers."""
    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return "".join(sign if ord(sign) in known else f"\\u{ord(sign):04x}" for sign in name)


def _at(photo, labels):
    """Labels at the size of a photo (H, W, 3)."""
    if labels.shape == photo.shape[:2]:
        return labels
    return np.array(Image.fromarray(labels).resize(photo.shape[1::-1], Image.Resampling.NEAREST))


def spread(index, count):
    """`count` of the indices, evenly spread, so that the choice is the same for every method and favours none."""
    return np.asarray(index)[np.linspace(0, len(index) - 1, min(count, len(index))).astype(int)]


def _save(figure, path, **options):
    with files.writing(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=110, **options)
    plt.close(figure)
