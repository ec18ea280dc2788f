"""Class evidence: where a photo looks like a class that is subject in all photos together.

A chair that stands out beside a cat is in the map of its photo. The classifier calls it a chair, and over the training
photos most places of that name lie outside the masks. So the classes that count as subject are found from the masks,
and a probability is weighed with how much each place looks like them.
"""

import numpy as np
import torch
import torch.nn.functional as F

from src import compute, data, distributed, maps
from src.models import backbones, classifiers

SIDES = (128, 256)  # pixels of the photo, each with its mirror image: from the whole subject to its parts
SHARPNESS = 4.0  # of the softmax of a place: nearly its likeliest class alone
PHOTOS = 1000  # of trainval at most, over which classes are counted and the middle is taken
CLOSEST = 0.005  # to 0 and 1 that a probability may come: odds stay finite


def scores_of_places(model, images):
    """Softmax over the classes at each place of the last feature map: (N, 3, H, W) to (N, K, h, w).

    Places are classified as the whole photo is, by the layer after the pooling; CAM is that layer's output before it.
    """
    features = model.backbone(images)[1].float()
    with compute.full_precision():
        logits = F.conv2d(features, model.fc.weight[:, :, None, None].float(), model.fc.bias.float())
    return (SHARPNESS * logits).softmax(1)


def odds(probability):
    """Logarithm of the odds of probabilities, kept CLOSEST from 0 and 1."""
    probability = np.clip(probability, CLOSEST, 1 - CLOSEST)
    return np.log(probability / (1 - probability))


def counted(photos):
    """Indices of the trainval photos that are counted, evenly spread."""
    return photos.trainval[:: -(-len(photos.trainval) // PHOTOS) or 1]


def sum_over(index, sums_of):
    """Sum over the photos `index` (n,), which the workers share, of sums_of(some of them): (m,) to float (m, ...)."""
    found = {}
    for some in distributed.shard(data.chunks(index, 32)):
        found.update(zip(some.tolist(), sums_of(some), strict=True))
    found = distributed.all_gather_dicts(found)
    return np.sum([found[int(i)] for i in index], 0, dtype=np.float64)


@torch.inference_mode()
def weigh(run, photos, predict, *, weight):
    """A predictor of probabilities, weighed with the evidence of the pretrained network's classes.

    Subject is a class of which most places lie in the masks. The logarithm of the odds of p becomes that of p +
    weight x (that of e - its middle), where e is the share of subject classes in the softmax of a place, and the middle
    lies halfway between its means in the masks and outside.

    Args:
        predict: photo indices (n,) to probabilities (n, S, S); those of trainval say which classes are subject.
        weight: of the evidence; 0 leaves the predictor as it is, as does a network without classes or of whose classes
            none is subject, and masks that are all of the photos.
    """
    if not weight or not len(photos.trainval):
        return predict
    compute.seed_everything(run.settings.seed)  # random weights are those that an unbroken run has
    model = backbones.fuse_batchnorm(classifiers.pretrained(run.settings))
    if not model.fc.out_features:
        return predict
    trainval, subject = counted(photos), {}  # and their masks

    def places(index):
        images = compute.to_device(photos.batch(index)).float()
        images = F.interpolate(images, (SIDES[0], SIDES[0]), mode="bilinear", antialias=True)
        with compute.autocast(run.settings):
            scores = scores_of_places(model, compute.normalise(images))
        masks = predict(index) > 0.5
        subject.update(zip(index.tolist(), masks, strict=True))
        masks = compute.to_device(masks.astype(np.float32))[:, None]
        # Half a cell beside where the places look. Put right, first masks lose 0 to 0.3 points: some classes change.
        inside = scores * F.adaptive_avg_pool2d(masks, scores.shape[-1])
        return compute.to_numpy(torch.stack([scores.mean((2, 3)), inside.mean((2, 3))], 1))

    everywhere, inside = sum_over(trainval, places)
    is_subject = inside > everywhere / 2
    run.log(f"class evidence: {is_subject.sum()} of {len(is_subject)} classes are subject")
    if not is_subject.any():
        return predict
    chosen = compute.to_device(np.flatnonzero(is_subject))

    def evidence(images):
        with compute.autocast(run.settings):
            return scores_of_places(model, images)[:, chosen].sum(1)

    def odds_of_evidence(index):
        images = compute.normalise(photos.batch(index))
        scales = [side / images.shape[-1] for side in SIDES]
        return odds(compute.to_numpy(maps.multi_scale(evidence, images, scales, centre=model.backbone.centre)))

    def pixels(index):
        masks, found = np.stack([subject[i] for i in index.tolist()]), odds_of_evidence(index)
        parts = [masks, found * masks, ~masks, found * ~masks]
        return np.stack(parts, 1).sum((2, 3), dtype=np.float64)

    number_in, total_in, number_out, total_out = sum_over(trainval, pixels)
    if not number_out:  # the masks are all of the photos
        return predict
    middle = (total_in / number_in + total_out / number_out) / 2

    @torch.inference_mode()
    def weighed(index):
        total = odds(predict(index)) + weight * (odds_of_evidence(index) - middle)
        return (1 / (1 + np.exp(-total))).astype(np.float32)

    return weighed
