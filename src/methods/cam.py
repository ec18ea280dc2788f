"""CAM: class activation maps (Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016).

The classifier's last feature map, weighted by one class's row of its fully connected layer, ReLU, divided by its
maximum.
"""

import numpy as np
import torch

from src import compute, maps
from src.models import backbones, classifiers

STARTS_FROM = "classifier"


def class_maps(features, weight, target_class):
    """CAM before normalisation: features weighted by the fc row of each photo's class, then ReLU (equation 2).

    Args:
        features: (N, C, h, w), the last feature map.
        weight: (K, C), the fully connected layer's.
        target_class: (N,) int64, the class asked for in each photo.

    Returns:
        (N, h, w) float32, >= 0.
    """
    with compute.full_precision():
        return torch.einsum("nchw,nc->nhw", features.float(), weight.float()[target_class]).relu()


def target_classes(model, classes, photos):
    """The class whose map is wanted for each pet photo, int64 (P+B,).

    trainval: the image label, which is the supervision. test: the class that the network predicts, among pets only
    where it also knows a background class. A network with other classes (ImageNet's) is asked for its prediction
    everywhere.
    """
    unlabelled = np.concatenate([photos.trainval, photos.test])
    labels, count = photos.class_labels(classes)
    targets = np.zeros(len(photos.names), np.int64)
    if labels is not None:
        labelled = photos.trainval[labels[photos.trainval] >= 0]
        targets[labelled] = labels[labelled]
        unlabelled = np.setdiff1d(unlabelled, labelled)
    if len(unlabelled):
        targets[unlabelled] = classifiers.predict_classes(model, photos, unlabelled, count)
    return targets


def classifier_and_targets(settings, photos, start):
    """The classifier of a checkpoint, fused for inference, and each photo's target class."""
    model, classes = classifiers.load(settings, start)
    model = backbones.fuse_batchnorm(model)
    return model, target_classes(model, classes, photos)


def multi_scale(settings, model, images, target_class, *, scales):
    """CAM before normalisation, (N, S, S), averaged over scales and mirror images of (N, 3, S, S) images."""

    def maps_of(scaled):
        with compute.autocast(settings):
            return class_maps(model.backbone(scaled)[1], model.fc.weight, target_class)

    return maps.multi_scale(maps_of, images, scales, centre=model.backbone.centre)


def predictor(settings, photos, start, *, scales):
    """Photo indices (n,) to CAMs (n, S, S) in [0, 1]; see src/methods."""
    model, targets = classifier_and_targets(settings, photos, start)

    @torch.inference_mode()
    def predict(index):
        images = compute.normalise(photos.batch(index))
        cams = multi_scale(settings, model, images, compute.to_device(targets[index]), scales=scales)
        return compute.to_numpy(maps.normalise(cams))

    return predict
