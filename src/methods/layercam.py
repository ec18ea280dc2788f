"""LayerCAM (Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE TIP 2021).

Each place of a feature map is weighted by its own positive gradient, so that maps of earlier, finer stages are of use;
the stages' maps are fused by their maximum.
"""

import torch

from src import compute, maps
from src.methods import cam

STARTS_FROM = "classifier"
FIRST = 2  # of the backbone's five stages; this and later ones are fused: strides 8, 16 and 16
GAMMA = 2  # of tanh, which lifts the maps of the stages before the last two (equation 8)


def layer_map(features, gradients):
    """ReLU of the sum over channels of ReLU(gradient) x feature, (N, C, h, w) to (N, h, w) (equations 5 to 7)."""
    return (gradients.relu() * features).sum(1).relu()


def class_maps(model, images, target_class):
    """Fused maps of the stages, (N, h, w) in [0, 1] at the finest stage's size.

    Args:
        model: classifiers.Classifier.
        images: (N, 3, H, W) normalised photos.
        target_class: (N,) int64, the class asked for in each photo.
    """
    stages = model.backbone.stages
    with torch.no_grad():
        for stage in stages[:FIRST]:
            images = stage(images)
    features = []
    with torch.enable_grad():
        images = images.requires_grad_()
        for stage in stages[FIRST:]:
            images = stage(images)
            features.append(images)
        logits = model.fc(images.mean(dim=(2, 3)))
        gradients = torch.autograd.grad(logits.gather(1, target_class[:, None]).sum(), features)
    found = [maps.normalise(layer_map(f.detach().float(), g.float())) for f, g in zip(features, gradients, strict=True)]
    found = [torch.tanh(GAMMA * layer) for layer in found[:-2]] + found[-2:]
    side, centre = found[0].shape[-1], model.backbone.centre
    return torch.stack([maps.upsample(layer, side, centre) for layer in found]).amax(0)


def predictor(settings, photos, start, *, scales):
    """Photo indices (n,) to fused maps (n, S, S) in [0, 1]; see src/methods."""
    model, targets = cam.classifier_and_targets(settings, photos, start)
    model.requires_grad_(False)

    @torch.inference_mode(False)  # it needs gradients, and class evidence asks without
    def predict(index):
        target_class = compute.to_device(targets[index])

        def maps_of(images):
            with compute.autocast(settings):
                return class_maps(model, images, target_class)

        images = compute.normalise(photos.batch(index))
        found = maps.multi_scale(maps_of, images, scales, centre=model.backbone.centre)
        return compute.to_numpy(maps.normalise(found))

    return predict
