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

from src import InputError, compute, data, metrics
from src.data import decoding, folders
from src.models import segmenters
from src.postprocessing import guided, masks
from src.report import page, pictures

MAX_SIDE = 1024  # pixels; larger photos are segmented at this size, and the outline then follows their own edges


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
        network: of models.segmenters. size: side in pixels that it sees. reading: of postprocessing.masks.reading.
        fast, amp: as `load` has them.
    """

    def __init__(self, network, size, reading, fast=False, amp=True):
        self.network, self.size = compute.to_device(network).eval(), size
        self.settings, self.fast = SimpleNamespace(amp=amp), fast
        self.scales = reading["scales"][:1] if fast else reading["scales"]
        self.recipe = masks.Recipe(None, None if fast else masks.refinement(reading), reading["dilation"])

    def probabilities(self, photos):
        """What the network says, float32 (N, S, S) in [0, 1], of a list of uint8 RGB arrays (H, W, 3)."""
        small = [Image.fromarray(photo).resize((self.size, self.size), Image.Resampling.BILINEAR) for photo in photos]
        batch = torch.from_numpy(np.stack([np.array(photo).transpose(2, 0, 1) for photo in small]))
        how = {"scales": self.scales, "flip": not self.fast}
        return segmenters.probabilities(self.settings, [self.network], batch, self.size, **how)

    def finish(self, photo, prob):
        """Bring a probability (S, S) to its photo's size and refine it; float32 (H, W) in [0, 1]."""
        return masks.refined([photo], [prob], self.recipe)[0]

    def __call__(self, photos):
        """Masks, bool (H, W), of one PIL image, a list of them, or a uint8 tensor (N, 3, H, W)."""
        if isinstance(photos, Image.Image):
            return self([photos])[0]
        if isinstance(photos, torch.Tensor):
            arrays = list(photos.permute(0, 2, 3, 1).contiguous().cpu().numpy())
        else:
            arrays = [np.array(ImageOps.exif_transpose(photo).convert("RGB")) for photo in photos]
        if not arrays:
            return []
        found = self.probabilities(arrays)
        return [self.finish(photo, prob) > 0.5 for photo, prob in zip(arrays, found, strict=True)]


def photos_in(inputs, out):
    """Photos of files and folders (subfolders included), and where their masks go.

    Photos keep their place below the folder they were found in, and its name where there are several folders. Where two
    differ in their suffix alone, they keep it.

    Args:
        inputs: paths. out: folder that is left out of them.

    Returns:
        dict name of the mask, without suffix -> path of the photo.

    Raises:
        InputError: an input is missing, there is no photo, or two photos would write the same mask.
    """
    found, several = [], sum(path.is_dir() for path in inputs) > 1
    for path in inputs:
        if path.is_dir():
            below = [p for p in sorted(folders.photos_below(path)) if out not in p.resolve().parents]
            found += [(Path(path.name if several else "") / p.relative_to(path), p) for p in below]
        elif path.exists():
            found.append((Path(path.name), path))
        else:
            raise InputError(f"no such photo or folder: {path}")
    stems, names = Counter(name.with_suffix("") for name, _ in found), {}
    for name, path in found:
        key = str(name if stems[name.with_suffix("")] > 1 else name.with_suffix(""))
        if names.setdefault(key, path) != path:
            raise InputError(f"{names[key]} and {path} would write the same mask; give them one after the other")
    if not names:
        raise InputError(f"no photos in {', '.join(map(str, inputs))}")
    return names


def write_masks(segmenter, photos, out, *, with_pictures=True, with_maps=False, batch_size=16):
    """Write the mask of each photo and, with_pictures, an overlay and a cut-out, at the photo's own size.

    With_maps also the small maps of src/report/page.

    Decoding and writing overlap with the network; memory holds three batches, whatever the number of photos. A photo
    that cannot be read is named on stderr and passed over.

    Args:
        segmenter: a Segmenter. photos: dict of `photos_in`. out: Path of the folder to write into.

    Yields:
        dict for each photo that is done: photo, mask, size (width, height), area (share of the photo), box (left, top,
        right, bottom; None without subject), certainty (mean distance of the probability from 0.5, doubled).
    """
    names = data.chunks(np.array(list(photos), dtype=object), batch_size)
    with compute.threads() as pool:
        reading, writing = [pool.submit(_read, photos[name]) for name in names[0]] if names else [], []
        for k, some in enumerate(names):
            read = [future.result() for future in reading]
            reading = [pool.submit(_read, photos[name]) for name in names[k + 1]] if k + 1 < len(names) else []
            good = [(name, photo) for name, photo in zip(some, read, strict=True) if photo is not None]
            found = segmenter.probabilities([photo for _, photo in good]) if good else []
            for future in writing:
                yield future.result()
            writing = [
                pool.submit(_write, segmenter, photo, prob, name, photos[name], out, with_pictures, with_maps)
                for (name, photo), prob in zip(good, found, strict=True)
            ]
        for future in writing:
            yield future.result()


def _read(path):
    try:
        return decoding.decode(path, max_side=MAX_SIDE)
    except InputError as error:
        print(f"left out {path.parent / str(error)}", file=sys.stderr, flush=True)
        return None


def _write(segmenter, photo, prob, name, path, out, with_pictures, with_maps):
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
    return {
        "photo": str(path), "mask": str(out / "masks" / f"{name}.png"), "size": [width, height],
        "area": round(float(mask.mean()), 4), "box": metrics.box(mask),
        "certainty": round(float(np.abs(2 * prob - 1).mean()), 4),
    }  # fmt: skip
