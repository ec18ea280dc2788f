"""Several methods' maps as one: each thresholded by its own histogram, turned into a probability, and averaged."""

import numpy as np

from src import ccam, evaluation, masks, models, runs
from src.errors import check_choice

METHODS = ("cam", "ecs", "ccam", "ccam_ecs", "specific")
SPECIFIC = ("cat_dog", "specific_37_class")


def otsu(maps, bins=64):
    """Otsu's threshold of each map: the one that parts its histogram into the two most distant classes.

    Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE Transactions on SMC, 1979. It looks at no
    ground truth and at no other photo, so a map that is dim as a whole is not lost.

    Args:
        maps: (N, H, W) in [0, 1].

    Returns:
        float32 (N,) thresholds in [0, 1].
    """
    found = []
    centres = (np.arange(bins) + 0.5) / bins
    for one in maps:
        counts = np.histogram(one, bins, (0, 1))[0].astype(float)
        below, mass = counts.cumsum()[:-1], (counts * centres).cumsum()
        above = counts.sum() - below
        distance = mass[:-1] / np.maximum(below, 1) - (mass[-1] - mass[:-1]) / np.maximum(above, 1)
        found.append((np.argmax(below * above * distance**2) + 1) / bins)
    return np.array(found, np.float32)


def member(name, settings, photos, scales, delta, theta):
    """Predictor of one method's maps, photo indices (n,) to (n, S, S) in [0, 1], from its finished run.

    Args:
        name: "<method> <init>", or "specific cat_dog", "specific specific_37_class" for class-specific CCAM.
        delta, theta: of ECS.

    Raises:
        InputError: no such method or start, or its run is missing.
    """
    method, _, init = name.partition(" ")
    check_choice("method of a member", method, METHODS)
    check_choice("start of a member", init, SPECIFIC if method == "specific" else models.INITS)
    if method in ("cam", "ecs"):
        model, classes = models.initial(settings, init)
        model = models.for_inference(model)
        asked = evaluation.classes_to_ask(model, classes, photos)
        predict = evaluation.cam_and_ecs(model, photos, asked, settings, scales, delta, theta)
        return lambda index: predict(index)[method]
    if method == "specific":
        path = runs.upstream(settings, f"train_class_specific_ccam/train_ccam_on_{init}.py")
    else:
        path = runs.upstream(settings, f"train_ccam/train_{method}.py", init=init)
    model, names = ccam.load(path / "checkpoint.pt", settings.backbone)
    head_of = photos.heads_of(names) if method == "specific" else np.zeros(len(photos.names), np.int64)
    predict = evaluation.ccam(models.for_inference(model), photos, head_of, settings, scales)
    return lambda index: predict(index)["ccam"]


def average(members, threshold=0.0):
    """Predictor for evaluation.make_masks: the mean probability of the members' maps.

    Args:
        members: predictors of `member`.
        threshold: where each map's probability is 0.5; 0 asks Otsu's method for each map's own.
    """

    def predict(index):
        total = 0
        for maps_of in members:
            maps = maps_of(index)
            total = total + masks.probability(maps, threshold or otsu(maps)[:, None, None])
        return {"pet": total / len(members)}

    return predict
