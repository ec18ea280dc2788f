"""A trained segmenter on any photos: no labels, no lists, no data root.

>>> segmenter = prediction.load("runs/train_on_ensemble/seed0")
>>> mask = segmenter(PIL.Image.open("photo.jpg"))   # bool (H, W); a list or a tensor batch gives as many
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from src import InputError, check_choice, checkpoints, compute, maps, metrics, records
from src.data import decoding
from src.methods import cam
from src.models import backbones, classifiers, segmenters
from src.postprocessing import finishing, guided

MAX_SIDE = 1024  # pixels; larger photos are segmented at this size, and the outline then follows their own edges
BATCH = 16  # photos that a network sees at once
EMPTY_BELOW = 0.8  # of metrics.confidence: photos without a subject mostly lie below, those with one hardly ever


def newest(folder, pattern):
    """Checkpoint of the newest finished run whose directory fits a pattern; None without any.

    Left out is what learned from ground truth: bounds, and segmenters from boxes that were drawn around it.
    """
    finished = [path.parent for path in folder.glob(f"{pattern}/summary.json") if _is_weak(path.parent)]
    weak = [run for run in finished if (run / "checkpoint.pt").exists()]
    return max(weak, key=lambda run: (run / "summary.json").stat().st_mtime) / "checkpoint.pt" if weak else None


def _is_weak(run):
    """Whether neither a run nor any that it started from, as far as they are there, learned from ground truth."""
    try:
        upstreams = records.config_of(run).get("upstreams", {})
    except InputError:  # damaged: whoever names the run will be told
        return False
    if any(name.endswith(("_gt", "_from_trimaps")) for name in (run.parent.name, *upstreams)):
        return False
    there = [Path(path) for path in upstreams.values() if (Path(path) / "config.json").is_file()]
    return all(_is_weak(path) for path in there)


def find_segmenter(runs_root, run="", checkpoint=""):
    """Path of the checkpoint that is named, of the run that is named, or of the newest segmenter below runs_root.

    Raises:
        InputError: none is named and none is there that was trained without ground truth.
    """
    if checkpoint and run:
        raise InputError("--run and --checkpoint both name a segmenter; give one of them")
    if checkpoint or run:
        return _file_of(checkpoint or run)
    found = newest(runs_root, "**/train_on_*/seed*")
    if found is None:
        raise InputError(f"no finished segmenter below {runs_root}; give --checkpoint or --run")
    return found


def find_classifier(runs_root, classifier="", run="", checkpoint=""):
    """Path of the checkpoint of the classifier that is named, of the newest beside the segmenter that is, or of all.

    Args:
        classifier: its run. run, checkpoint: of the segmenter, as in `find_segmenter`.

    Raises:
        InputError: none of them is there.
    """
    if classifier:
        return _file_of(classifier)
    if run or checkpoint:  # others' classifiers know other classes
        segmenter = find_segmenter(runs_root, run, checkpoint)
        found, where = _beside(segmenter), f"beside {segmenter.parent}"
    else:
        found, where = newest(runs_root, "**/*classifier*/seed*"), f"below {runs_root}"
    if found is None:
        text = f"--cam wants a classifier, and none is {where}"
        raise InputError(f"{text}; give --classifier, or train one (instruction.md, section 6)")
    return found


def load(path, fast=False, amp=True, empty_below=EMPTY_BELOW):
    """The Segmenter of a checkpoint.

    Args:
        path: of a checkpoint that a script of train_unet/ wrote, or of its run directory.
        fast: one scale, no mirror image and no dense CRF.
        amp: bf16 where the hardware is faster with it.
        empty_below: confidence (metrics.confidence) below which a photo gets an empty mask; 0 for none.

    Raises:
        InputError: the file is missing or holds no segmenter.
    """
    return Segmenter(*segmenters.load(_file_of(path)), fast=fast, amp=amp, empty_below=empty_below)


def _file_of(path):
    """A checkpoint's path, given that or its run directory's.

    Raises:
        InputError: nothing is there.
    """
    found = Path(path) / "checkpoint.pt" if Path(path).is_dir() else Path(path)
    if not found.exists():
        raise InputError(f"no {found}; a run directory is one such as runs/train_on_ensemble/seed0")
    return found


class Segmenter:
    """Photos to masks, with the scales, dense CRF and growth that the segmenter was trained to be read with.

    Args:
        network: of models.segmenters; it can be trained no more. size: side in pixels that it sees.
        reading: of postprocessing.finishing.reading.
        fast, amp, empty_below: as `load` has them.
    """

    def __init__(self, network, size, reading, fast=False, amp=True, empty_below=EMPTY_BELOW):
        fuse = backbones.fuse_batchnorm if isinstance(network, segmenters.BackboneUNet) else compute.to_device
        self.network, self.size = fuse(network).eval(), size
        self.settings, self.fast, self.empty_below = SimpleNamespace(amp=amp), fast, empty_below
        self.flags = {"--fast": fast, "--empty-below": empty_below}  # of predict.py, that masks depend on
        self.scales = reading["scales"][:1] if fast else reading["scales"]
        self.recipe = finishing.recipe_of(reading, fast=fast)

    def probabilities(self, photos):
        """What the network says, float32 (N, S, S) in [0, 1], of a list of uint8 RGB arrays (H, W, 3)."""
        how, found = {"scales": self.scales, "flip": not self.fast}, []
        for start in range(0, len(photos), BATCH):
            batch = _squashed(photos[start : start + BATCH], self.size)
            found += list(segmenters.probabilities(self.settings, [self.network], batch, self.size, **how))
        return found

    def finish(self, photo, prob):
        """Bring a probability (S, S) to its photo's size and refine it; float32 (H, W) in [0, 1], 0 without subject."""
        if metrics.confidence(prob) < self.empty_below:
            return np.zeros(photo.shape[:2], np.float32)
        return finishing.refined([photo], [prob], {"mask": self.recipe})["mask"][0]

    def __call__(self, photos):
        """Masks, bool (H, W), of one PIL image, a list of them, or a uint8 tensor (N, 3, H, W).

        They are those of predict.py, but for the outlines of JPEGs over MAX_SIDE, which it shrinks while it reads them.

        Raises:
            TypeError: anything else.
        """
        if isinstance(photos, Image.Image):
            return self([photos])[0]
        if isinstance(photos, torch.Tensor) and photos.dtype == torch.uint8 and photos.ndim == 4:
            photos = [Image.fromarray(photo) for photo in photos.permute(0, 2, 3, 1).contiguous().cpu().numpy()]
        if not isinstance(photos, list | tuple) or not all(isinstance(photo, Image.Image) for photo in photos):
            raise TypeError("expected a PIL image, a list of them, or a uint8 tensor (N, 3, H, W)")
        if not photos:
            return []
        photos = [decoding.as_rgb(decoding.upright(photo)) for photo in photos]
        small = [photo.copy() for photo in photos]
        for photo in small:
            photo.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR)
        small = [np.array(photo) for photo in small]
        found = zip(photos, small, self.probabilities(small), strict=True)
        return [at_size_of(np.array(photo), self.finish(s, prob), s) for photo, s, prob in found]


def at_size_of(photo, prob, small):
    """Mask of a photo, bool (H, W), from the probability (h, w) of itself, or of a smaller copy of it."""
    return prob > 0.5 if prob.shape == photo.shape[:2] else guided.upsample(prob, small, photo)


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
            if knows == ".." or Path(knows).name != knows:  # it names one, and comes from a stranger
                raise InputError(f"the class {knows!r} cannot name a folder")
        self.model, self.size = backbones.fuse_batchnorm(compute.to_device(model).eval()), saved["image_size"]

    @torch.inference_mode()
    def __call__(self, photos):
        """(name of the likeliest class, its probability) of each of a list of uint8 RGB arrays (H, W, 3)."""
        scores, best = self.model(compute.normalise(_squashed(photos, self.size))).softmax(1).max(1)
        return [(self.classes[k], score) for k, score in zip(best.tolist(), scores.tolist(), strict=True)]

    @torch.inference_mode()
    def heat(self, photos, name, scales=(1.0, 1.5)):
        """(CAM of a class by name, float32 (S, S) in [0, 1], the probability of that class) of each of such a list.

        Raises:
            InputError: the classifier does not know this class.
        """
        check_choice("class", name, self.classes)
        images, number = compute.normalise(_squashed(photos, self.size)), self.classes.index(name)
        targets = compute.to_device(np.full(len(photos), number))
        cams = maps.normalise(cam.multi_scale(self.settings, self.model, images, targets, scales=scales))
        scores = self.model(images).softmax(1)[:, number].tolist()
        return list(zip(compute.to_numpy(cams), scores, strict=True))


def beside(checkpoint, run="", amp=True):
    """The Recogniser of the run that is named, or of the newest classifier beside a segmenter's run; None without."""
    found = _file_of(run) if run else _beside(checkpoint)
    return found and Recogniser(found, amp)


def _beside(checkpoint):
    return newest(checkpoint.absolute().parent.parent.parent, "*classifier*/seed*")


def _squashed(photos, size):
    """Photos as the networks were trained on them: uint8 tensor (N, 3, size, size)."""
    small = [Image.fromarray(photo).resize((size, size), Image.Resampling.BILINEAR) for photo in photos]
    return torch.from_numpy(np.stack([np.array(photo).transpose(2, 0, 1) for photo in small]))
