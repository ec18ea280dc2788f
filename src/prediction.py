"""A trained segmenter on any photos: no labels, no lists, no data root.

>>> segmenter = prediction.load("runs/train_on_ensemble/seed0/checkpoint.pt")
>>> mask = segmenter(PIL.Image.open("photo.jpg"))   # bool (H, W); a list or a tensor batch gives as many
"""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageOps

from src import InputError, check_choice, checkpoints, compute, data, export, files, maps, metrics
from src.data import decoding, folders
from src.methods import cam
from src.models import backbones, classifiers, segmenters
from src.postprocessing import guided, masks
from src.report import page, pictures

WRITTEN = ("masks", "overlays", "cutouts", "maps", "cams", *export.KINDS)  # folders below --out
MAX_SIDE = 1024  # pixels; larger photos are segmented at this size, and the outline then follows their own edges


def newest(folder, pattern):
    """Checkpoint of the newest finished run whose directory fits a pattern, bounds left out; None without any."""
    finished = [path.parent for path in folder.glob(f"{pattern}/summary.json")]
    weak = [run for run in finished if not run.parent.name.endswith("_gt") and (run / "checkpoint.pt").exists()]
    return max(weak, key=lambda run: (run / "summary.json").stat().st_mtime) / "checkpoint.pt" if weak else None


def find_segmenter(runs_root, run="", checkpoint=""):
    """Path of the checkpoint that is named, of the run that is named, or of the newest segmenter below runs_root.

    Raises:
        InputError: none is named and none is there that was trained without ground truth.
    """
    if checkpoint or run:
        return Path(checkpoint or Path(run) / "checkpoint.pt")
    found = newest(runs_root, "**/train_on_*/seed*")
    if found is None:
        raise InputError(f"no finished segmenter below {runs_root}; give --checkpoint or --run")
    return found


def find_classifier(runs_root, classifier="", run="", checkpoint=""):
    """Path of the checkpoint of the classifier that is named, else of the newest one beside the segmenter, or of all.

    Args:
        classifier: its run. run, checkpoint: of the segmenter, as in `find_segmenter`.

    Raises:
        InputError: none of them is there.
    """
    if classifier:
        return Path(classifier) / "checkpoint.pt"
    beside = _beside(find_segmenter(runs_root, run, checkpoint)) if run or checkpoint else None
    found = beside or newest(runs_root, "**/*classifier*/seed*")
    if found is None:
        raise InputError(f"--cam wants a classifier, and none is below {runs_root}; give --classifier")
    return found


def load(path, fast=False, amp=True):
    """The Segmenter of a checkpoint.

    Args:
        path: of a checkpoint that a script of train_unet/ wrote.
        fast: one scale, no mirror image and no dense CRF.
        amp: bf16 where the hardware is faster with it.

    Raises:
        InputError: the file is missing or holds no segmenter.
    """
    return Segmenter(*segmenters.load(path), fast=fast, amp=amp)


class Segmenter:
    """Photos to masks, with the scales, dense CRF and growth that the segmenter was trained to be read with.

    Args:
        network: of models.segmenters; it can be trained no more. size: side in pixels that it sees.
        reading: of postprocessing.masks.reading.
        fast, amp: as `load` has them.
    """

    def __init__(self, network, size, reading, fast=False, amp=True):
        fuse = backbones.fuse_batchnorm if isinstance(network, segmenters.BackboneUNet) else compute.to_device
        self.network, self.size = fuse(network).eval(), size
        self.settings, self.fast = SimpleNamespace(amp=amp), fast
        self.scales = reading["scales"][:1] if fast else reading["scales"]
        self.recipe = masks.Recipe(None if fast else masks.refinement(reading), reading["dilation"])

    def probabilities(self, photos):
        """What the network says, float32 (N, S, S) in [0, 1], of a list of uint8 RGB arrays (H, W, 3)."""
        batch = _squashed(photos, self.size)
        how = {"scales": self.scales, "flip": not self.fast}
        return list(segmenters.probabilities(self.settings, [self.network], batch, self.size, **how))

    def finish(self, photo, prob):
        """Bring a probability (S, S) to its photo's size and refine it; float32 (H, W) in [0, 1]."""
        return masks.refined([photo], [prob], {"mask": self.recipe})["mask"][0]

    def __call__(self, photos):
        """Masks, bool (H, W), of one PIL image, a list of them, or a uint8 tensor (N, 3, H, W)."""
        if isinstance(photos, Image.Image):
            return self([photos])[0]
        if isinstance(photos, torch.Tensor):
            arrays = list(photos.permute(0, 2, 3, 1).contiguous().cpu().numpy())
        else:
            arrays = [np.array(decoding.as_rgb(ImageOps.exif_transpose(photo))) for photo in photos]
        if not arrays:
            return []
        found = self.probabilities(arrays)
        return [self.finish(photo, prob) > 0.5 for photo, prob in zip(arrays, found, strict=True)]


class Recogniser:
    """What photos show, and where: the classes, scores and activation maps of a classifier.

    Args:
        path: of a checkpoint that a script of train_classifier/ wrote. amp: as `load` has it. knows: a class.

    Raises:
        InputError: the file is missing, holds no classifier, or one that does not know this class.
    """

    def __init__(self, path, amp=True, knows=""):
        saved = checkpoints.read_network(path, "classifier", image_size=segmenters.is_side)
        self.settings = SimpleNamespace(backbone=saved["backbone"], amp=amp)
        model, self.classes = classifiers.load(self.settings, path)
        if knows:
            check_choice("class", knows, self.classes)
        self.model, self.size = backbones.fuse_batchnorm(compute.to_device(model).eval()), saved["image_size"]

    @torch.inference_mode()
    def __call__(self, photos):
        """(name of the likeliest class, its probability) of each of a list of uint8 RGB arrays (H, W, 3)."""
        scores, best = self.model(compute.normalise(_squashed(photos, self.size))).softmax(1).max(1)
        return [(self.classes[k], score) for k, score in zip(best.tolist(), scores.tolist(), strict=True)]

    @torch.inference_mode()
    def heat(self, photos, name, scales=(1.0, 1.5)):
        """The CAM of a class by name, float32 (N, S, S) in [0, 1], of such a list.

        Raises:
            InputError: the classifier does not know this class.
        """
        check_choice("class", name, self.classes)
        images = compute.normalise(_squashed(photos, self.size))
        targets = compute.to_device(np.full(len(photos), self.classes.index(name)))
        cams = cam.multi_scale(self.settings, self.model, images, targets, scales=scales)
        return list(compute.to_numpy(maps.normalise(cams)))


def beside(checkpoint, run="", amp=True):
    """The Recogniser of the run that is named, or of the newest classifier beside a segmenter's run; None without."""
    found = Path(run) / "checkpoint.pt" if run else _beside(checkpoint)
    return found and Recogniser(found, amp)


def _beside(checkpoint):
    return newest(checkpoint.absolute().parent.parent.parent, "*classifier*/seed*")


def _squashed(photos, size):
    """Photos as the networks were trained on them: uint8 tensor (N, 3, size, size)."""
    small = [Image.fromarray(photo).resize((size, size), Image.Resampling.BILINEAR) for photo in photos]
    return torch.from_numpy(np.stack([np.array(photo).transpose(2, 0, 1) for photo in small]))


def photos_in(inputs, out):
    """Photos of files and folders (subfolders included), and where their masks go.

    Photos keep their place below the folder they were found in, and its name where there are several folders. Where two
    differ in their suffix alone, they keep it.

    Args:
        inputs: paths. out: folder; what is written below it is left out of them.

    Returns:
        dict name of the mask, without suffix -> path of the photo.

    Raises:
        InputError: an input is missing, there is no photo, or two photos would write the same mask.
    """
    found, several = [], sum(path.is_dir() for path in inputs) > 1
    written = {out / name for name in WRITTEN}
    for path in inputs:
        if path.is_dir():
            below = [p for p in sorted(folders.photos_below(path)) if not written & {*files.resolved(p).parents}]
            found += [(Path(files.resolved(path).name if several else "") / p.relative_to(path), p) for p in below]
        elif path.is_file():
            found.append((Path(path.name), path))
        else:
            raise InputError(f"no such photo or folder: {path}")
    once = {}  # a photo that was found in two ways
    for name, path in found:
        once.setdefault((name, files.resolved(path)), path)
    stems, names = Counter(name.with_suffix("") for name, _ in once), {}
    for (name, _), path in once.items():
        key = str(name if stems[name.with_suffix("")] > 1 else name.with_suffix(""))
        if names.setdefault(key, path) != path:
            raise InputError(f"{names[key]} and {path} would write the same mask; give their folders, or another --out")
    if not names:
        raise InputError(f"no photos in {', '.join(map(str, inputs))}")
    return names


def write_masks(segmenter, photos, out, *, recogniser=None, with_pictures=True, with_maps=False, batch_size=16):
    """Write the mask of each photo at its own size and, with_pictures, an overlay and a cut-out; see `_in_batches`.

    Args:
        segmenter: a Segmenter. photos: dict of `photos_in`. out: Path of the folder to write into.
        recogniser: a Recogniser, or None. with_maps: also write the small maps of src/report/page.

    Yields:
        dict for each photo that is done: photo, mask, size (width, height), area (share of the photo), box (left, top,
        right, bottom; None without subject), certainty (mean distance of the probability from 0.5, doubled); with a
        recogniser class and score.
    """

    def look(some):
        kinds = recogniser(some) if recogniser else [None] * len(some)
        return zip(segmenter.probabilities(some), kinds, strict=True)

    def write(name, photo, found):
        prob, kind = found
        return _write_mask(segmenter, photo, prob, kind, name, photos[name], out, with_pictures, with_maps)

    yield from _in_batches(photos, look, write, batch_size)


def write_heat(recogniser, name, photos, out, *, batch_size=16):
    """Write <out>/cams/<class>/<photo>.jpg, the CAM of a class over each photo; arguments and errors as above."""
    check_choice("class", name, recogniser.classes)

    def write(photo_name, photo, heat):
        path = out / "cams" / name / f"{photo_name}.jpg"
        pictures.save_heat(path, photo, heat)
        return {"photo": str(photos[photo_name]), "cam": str(path), "class": name}

    yield from _in_batches(photos, lambda some: recogniser.heat(some, name), write, batch_size)


def _in_batches(photos, look, write, batch_size):
    """Yield what `write(name, photo, found)` gives for each photo, `found` being what `look` makes of a list of photos.

    Decoding and writing overlap with the network; memory holds three batches, whatever the number of photos. A photo
    that cannot be read is named on stderr and passed over.
    """
    names = data.chunks(np.array(list(photos), dtype=object), batch_size)
    with compute.threads() as pool:
        reading, writing = [pool.submit(_read, photos[name]) for name in names[0]] if names else [], []
        for k, some in enumerate(names):
            read = [future.result() for future in reading]
            reading = [pool.submit(_read, photos[name]) for name in names[k + 1]] if k + 1 < len(names) else []
            good = [(name, photo) for name, photo in zip(some, read, strict=True) if photo is not None]
            found = look([photo for _, photo in good]) if good else []
            for future in writing:
                yield future.result()
            writing = [pool.submit(write, name, photo, one) for (name, photo), one in zip(good, found, strict=True)]
        for future in writing:
            yield future.result()


def _read(path):
    try:
        return decoding.decode(path, max_side=MAX_SIDE)
    except InputError as error:
        print("left out", " ".join(f"{path.parent / str(error)}".splitlines()), file=sys.stderr, flush=True)
        return None


def _write_mask(segmenter, photo, prob, kind, name, path, out, with_pictures, with_maps):
    """Finish a photo's mask and write it last: it tells that the photo is done."""
    prob = segmenter.finish(photo, prob)
    mask, (width, height) = prob > 0.5, decoding.upright_size(path)
    if mask.shape != (height, width):
        small, photo = photo, decoding.decode(path)
        mask = guided.upsample(prob, small, photo)
    if with_pictures:
        pictures.save_overlay(out / "overlays" / f"{name}.jpg", photo, mask)
        pictures.save_cutout(out / "cutouts" / f"{name}.png", photo, mask)
    if with_maps:
        pictures.save_map(out / "maps" / f"{name}.png", prob, page.SIDE)
    masks.save(out / "masks" / f"{name}.png", mask.astype(np.uint8))
    found = {
        "photo": str(path), "mask": str(out / "masks" / f"{name}.png"), "size": [width, height],
        "area": round(float(mask.mean()), 4), "box": metrics.box(mask),
        "certainty": round(float(np.abs(2 * prob - 1).mean()), 4),
    }  # fmt: skip
    return found | ({"class": kind[0], "score": round(kind[1], 4)} if kind else {})
