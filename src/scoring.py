"""Scores of folders of masks, of any origin, against the trimaps of a data root."""

from pathlib import Path

import numpy as np

from src import InputError, compute, count_of, distributed, few, metrics
from src.agreement import AGAIN
from src.postprocessing import masks
from src.report import pictures


def confusions(photos, index, folder, pet_values=(1,)):
    """metrics.confusion of each photo's mask in a folder, int64 (n, 3, 2).

    Args:
        folder: holds <name>.png for each photo, at the photo's own size.
        pet_values: values of a mask that count as pet; all others, an uncertain 255 too, count as background. Where
            they are 1 alone, 255 is the pet in a mask of black and white.

    Raises:
        InputError: a mask or trimap is missing, unreadable, or of another size than its photo.
    """

    def one(i):
        name = f"{photos.names[i]}.png"
        path, trimap = Path(folder) / name, masks.read_trimap(photos, i)
        mask = masks.read(path, monochrome=pet_values == (1,))
        white = pet_values == (1,) and masks.is_white_on_black(path, mask)
        try:
            return metrics.confusion(np.isin(mask, masks.IGNORE if white else pet_values), trimap)
        except ValueError as error:
            raise InputError(f"{Path(folder) / name} and the trimap of that name: {error}") from None

    own = distributed.shard(index)
    with compute.threads() as pool:
        found = dict(zip(own.tolist(), pool.map(one, own), strict=True))
    found = distributed.all_gather_dicts(found)
    return np.stack([found[int(i)] for i in index])


def splits(photos):
    """The splits that can be scored: dict name -> indices of the photos with a ground truth; none without any."""
    found = {"test": photos.with_truth(photos.test), "trainval": photos.with_truth(photos.trainval)}
    return {name: index for name, index in found.items() if len(index)}


def make_and_score(run, photos, predict, recipes, *, threshold=None, ignore_band=0.0, boxes=None):
    """What every mask stage does: write masks, show some of them in preview.png, score them; see masks.write, score."""
    masks.write(run.path, photos, predict, recipes, threshold=threshold, ignore_band=ignore_band, boxes=boxes)
    pictures.preview(run, photos, recipes)
    return score(run, photos, recipes)


def score(run, photos, folders):
    """Score the mask folders of a run.

    Returns:
        dict "test" and "trainval" for masks/, "test_<x>" and so on for masks_<x>/ -> metrics.summarise, and of test
        `by_class`. Empty without ground truth.
    """
    run.truths = photos.digest_of_truths
    if not photos.has_truths():
        run.log("no ground truth here: masks are made but not scored")
    scores = {}
    for folder in folders:
        for split, index in splits(photos).items():
            key = split + folder.removeprefix("masks")
            counts = confusions(photos, index, run.path / folder)
            scores[key] = metrics.summarise(counts)
            if split == "test":
                scores[key]["by_class"] = by_class(photos, index, counts)
    return scores


def by_class(photos, index, counts):
    """dict name of the breed -> [photos, mean IoU with border = pet, and with the border ignored] of `confusions`."""
    both = [metrics.per_photo_iou(counts, border) for border in ("pet", "ignored")]
    found = {}
    for number, name in enumerate(photos.breed_names):
        own = photos.breeds[index] == number
        if own.any():
            found[name] = [int(own.sum()), *(round(float(iou[own].mean()), 4) for iou in both)]
    return found


def covered(photos, index, folders):
    """Whether folders of masks hold these photos: all of them (True) or none (False).

    Raises:
        InputError: a folder is missing, or some folder holds a part of the photos only; names what it lacks.
    """
    lacks = {}
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError(f"no folder of masks {folder}")
        lacks[folder] = [photos.names[i] for i in index if not (Path(folder) / f"{photos.names[i]}.png").is_file()]
    if all(len(names) == len(index) for names in lacks.values()):
        return False
    for folder, names in lacks.items():
        if names:
            raise InputError(f"{folder} lacks {count_of(names, 'mask')} of {len(index)}: {few(names)}")
    return True


def compare(counts):
    """Paired differences of several sets of masks of the same photos from the first.

    Args:
        counts: dict name -> metrics.confusion of each photo, (N, 3, 2).

    Returns:
        dict name (but the first) -> dict border -> (mean difference of the pet IoU, [low, high]), fractions.
    """
    found = {}
    first, *others = counts
    for name in others:
        found[name] = {}
        for border in ("pet", "ignored"):
            by_photo = metrics.per_photo_iou(counts[name], border) - metrics.per_photo_iou(counts[first], border)
            found[name][border] = (float(by_photo.mean()), metrics.bootstrap(by_photo))
    return found


def agreement(photos, index, folder, other):
    """How much two folders of masks agree on each photo: IoU of their subjects, float64 (n,); 1 where both are empty.

    Where there is no ground truth this tells where to look: what two stages disagree about is not sure.
    """

    def one(i):
        try:
            a, b = (masks.read_made(Path(where) / f"{photos.names[i]}.png") == 1 for where in (folder, other))
        except InputError as error:
            raise InputError(f"{error}{AGAIN}") from None
        return (a & b).sum() / (a | b).sum() if (a | b).any() else 1.0

    with compute.threads() as pool:
        return np.array(list(pool.map(one, index)))


def worst(photos, index, counts, most):
    """Names and IoU (border = pet) of the photos with the lowest, [(name, IoU)]."""
    iou = metrics.per_photo_iou(counts)
    return [(photos.names[index[k]], float(iou[k])) for k in iou.argsort(kind="stable")[:most]]
