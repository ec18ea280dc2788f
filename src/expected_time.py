"""How long the chain for own photos will take, from one forward pass and one dense CRF measured here and now."""

import time

import numpy as np
import torch

from src import compute
from src.data import decoding
from src.methods import class_evidence
from src.models import classifiers
from src.postprocessing import crf

BATCH = 8  # photos of the measured pass
# Forward passes of a photo's network that a photo costs; counted from the scripts' EPOCHS and SCALES.
CCAM = 2.5  # features of two views, then the head alone
CLASSIFIER = 15.0  # six passes with most of the network frozen
MAPS = 6.5  # scales 1 and 1.5 and their mirror images
SEGMENTER = 30.0  # eight passes forward and, down to what is frozen, backward; the way up included
MASKS = 5.0  # scale 1.25 and its mirror image, the way up included
EVIDENCE = 2 * sum(side**2 for side in class_evidence.SIDES)  # pixels that it looks at, with the mirror images


def of_own_chain(settings, photos, names, members, rounds):
    """Seconds for each of the stages of experiments.own.

    Args:
        names: of the stages. members, rounds: of the ensemble and the segmenter.

    Returns:
        dict name -> seconds.
    """
    forward, refine = _measure(settings, photos)
    trainval, every = len(photos.trainval), len(photos.trainval) + len(photos.test)
    counted, looks = len(class_evidence.counted(photos)), EVIDENCE / settings.image_size**2

    def weighed(number, passes):
        """Seconds of so many masks with class evidence, for which those of the counted photos are made before."""
        return (number + counted) * (passes + looks) * forward + number * refine

    found = {}
    for name in names:
        if "ensemble" not in name:
            found[name] = trainval * forward * (CLASSIFIER * settings.passes if "classifier" in name else CCAM)
        elif "masks" in name:
            found[name] = weighed(every, members * MAPS)
        else:
            trainings = 1 + (rounds - 1) / 2  # those but the last are half as long
            found[name] = trainings * trainval * forward * SEGMENTER * settings.passes
            found[name] += sum(weighed(trainval, number * MASKS) for number in range(1, rounds))  # of so many networks
            found[name] += every * (MASKS * forward + refine)
    return found


def left(ahead, spent, cost):
    """Words for the time of costs that lie ahead, if `cost` took `spent` seconds; empty if nothing is known or left."""
    if not cost or ahead < 1e-6:
        return ""
    minutes = round(ahead * spent / cost / 60)
    return f", {minutes or 'under 1'} min left"


@torch.inference_mode()
def _measure(settings, photos):
    """Seconds a photo of (a forward pass at the image size, the dense CRF of the first one at its own size)."""
    index = np.resize(photos.trainval, BATCH)
    model = compute.to_device(classifiers.pretrained(settings)).eval()
    images = compute.normalise(photos.batch(index))
    took = []
    for _ in range(4):  # the first warms up, and other programs may disturb one
        start = time.perf_counter()
        with compute.autocast(settings):
            compute.to_numpy(model.backbone(images)[1].float().mean())  # not its logits: it may have no classes
        took.append((time.perf_counter() - start) / BATCH)
    forward = sorted(took)[1]
    picture = decoding.decode(photos.paths[index[0]], max_side=crf.DenseCRF.max_side)
    start = time.perf_counter()
    crf.refine([picture], [picture[..., 0] / 255], crf.DenseCRF())
    return forward, time.perf_counter() - start
