"""CCAM: class-agnostic activation maps from contrast between foreground and background (Xie et al., C2AM, CVPR 2022).

A 3x3 convolution with BatchNorm and sigmoid on the last two stages gives one map P. Features averaged under P and
under 1 - P are pulled together among photos (SimMax) and pushed apart from each other (SimMin).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from src import checkpoints, compute, data, distributed, maps, training
from src.models import backbones, classifiers

STARTS_FROM = "ccam"
COSINE_RANGE = (0.0005, 0.9995)  # keeps both logarithms finite, as in the published code


class CCAM(nn.Module):
    """One or several activation heads (3x3 convolution, BatchNorm) on the concatenated last two stages.

    Args:
        classifier: classifiers.Classifier whose backbone is used; its fc stays, for CCAM+ECS.
        heads: number of maps; class-specific CCAM has one for each class.
        guided: P was trained towards an ECS-CAM (CCAM+ECS) and so is a map in [0, 1] by itself. A CCAM left alone
            saturates: its P is near 1 far beyond the pet, and the logit is the better map.
    """

    def __init__(self, classifier, *, heads=1, guided=False):
        super().__init__()
        self.guided = guided
        self.backbone, self.fc = classifier.backbone, classifier.fc
        channels = sum(self.backbone.channels[3:])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1)) for _ in range(heads)
        )
        # The loss is symmetric in foreground and background; +1 or -1 says which side the pet is on.
        self.register_buffer("polarity", torch.ones(heads))

    def features(self, images):
        """Images (N, 3, H, W) to concatenated features (N, C4 + C5, h, w) and the last stage's alone (N, C5, h, w)."""
        before, last = self.backbone(images)
        return torch.cat([before, last], dim=1), last

    def logits(self, features, head=0, count=None):
        """(N, h, w) float32 logits of one head; its sigmoid is the map P of the paper. Polarity is not applied.

        `count` is that of `distributed.all_gather`: the photos of the whole batch, of which these are a shard.
        """
        convolution, norm = self.heads[head]
        logits = convolution(features)
        if self.training:  # with the statistics of the whole batch, not of this process's shard
            logits = distributed.shard(norm(distributed.all_gather(logits, count)))
        else:
            logits = norm(logits)
        return logits[:, 0].float()

    def logits_of_heads(self, features, heads):
        """Logits (N, h, w) of features (N, C, h, w), each photo's from its own head (N,)."""
        logits = features.new_empty(len(features), *features.shape[2:], dtype=torch.float32)
        for head in np.unique(heads):
            own = compute.to_device(np.flatnonzero(heads == head))
            logits[own] = self.logits(features[own], int(head))
        return logits

    def activation_maps(self, images, heads):
        """Maps before normalisation, (N, h, w) >= 0: P where the training was guided, else ReLU of the logits.

        Args:
            images: (N, 3, H, W) normalised photos.
            heads: (N,) which head to ask for each photo.
        """
        logits = self.logits_of_heads(self.features(images)[0], heads)
        logits = logits * self.polarity[compute.to_device(heads)].view(-1, 1, 1)
        return logits.sigmoid() if self.guided else logits.relu()

    def forward(self, images=None, features=None, head=0, count=None):
        """A training step's (features, logits), from images or from the features that a frozen backbone gave."""
        if features is None:
            features, _ = self.features(images)
        return features, self.logits(features, head, count)


def contrast(features, logits):
    """Mean features under the map and under its complement: two (N, C) float32 tensors.

    Args:
        features: (N, C, h, w).
        logits: (N, h, w); the map P is their sigmoid.
    """
    p = logits.sigmoid().flatten(1)
    both = torch.stack([p, 1 - p], dim=1)  # one product for both: the features are read once
    means = both @ features.float().flatten(2).transpose(1, 2) / p.shape[1]
    return means[:, 0], means[:, 1]


def sim_max(vectors, *, alpha):
    """Pull alike vectors (N, C) together: mean over pairs of -log(cos) exp(-alpha (rank - 1)).

    The rank of j for i is its place among i's partners by similarity, 1 for the nearest: near pairs count most.
    Xie et al. 2022, equations 5 and 6. A lone photo has no pairs and gives 0.
    """
    count = len(vectors)
    if count < 2:
        return vectors.sum() * 0
    cosine = _cosine(vectors, vectors)
    itself = torch.eye(count, dtype=torch.bool, device=cosine.device)
    partners = cosine.masked_fill(itself, -torch.inf)
    rank = partners.argsort(dim=1, descending=True).argsort(dim=1)  # 0 for the nearest
    weight = torch.exp(-alpha * rank.float())
    return (-cosine.log() * weight).masked_fill(itself, 0).sum() / (count * (count - 1))


def sim_min(foreground, background):
    """Push foregrounds from backgrounds: mean over all N x N pairs of -log(1 - cos). Xie et al. 2022, equation 4."""
    return -(1 - _cosine(foreground, background)).log().mean()


def contrastive_loss(features, logits, *, alpha, count=None):
    """SimMax(fg) + SimMax(bg) + SimMin(fg, bg), a scalar, in full precision, over all processes' photos.

    `count` is that of `distributed.all_gather`. In bf16 a cosine of 0.9995 is 1, and its logarithm in SimMin infinite.
    """
    with compute.full_precision():
        foreground, background = (distributed.all_gather(vectors, count) for vectors in contrast(features, logits))
        return sim_max(foreground, alpha=alpha) + sim_max(background, alpha=alpha) + sim_min(foreground, background)


def _cosine(a, b):
    return (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).clamp(*COSINE_RANGE)


def initialise(run, model, *, frozen_stages):
    """Seed, start the heads anew, and place a CCAM on the device with its first stages frozen."""
    compute.seed_everything(run.settings.seed)
    for head in model.heads:
        nn.init.normal_(head[0].weight, std=0.01)
    model = compute.to_device(model)
    model.backbone.freeze(frozen_stages)
    return model


def train(run, photos, model, *, epochs, batch_size, alpha, lr, head_lr, frozen_stages, head_of=None):
    """Train a CCAM, decide its polarity, and leave it in evaluation mode.

    Args:
        run: runs.Run.
        photos: data.PhotoSet; trainval is learned from, without its labels.
        model: CCAM.
        epochs: passes over trainval.
        batch_size: photos a step; the loss compares every pair of them.
        alpha: of SimMax's rank weights.
        lr, head_lr: learning rates of the backbone and of the activation heads.
        frozen_stages: first stages of the backbone that stay as they are; 5 trains the heads alone, on features that
            are computed once.
        head_of: int64 (P+B,), which head each photo trains. Each batch then holds photos of one head, because the loss
            compares photos of one class. None: one head for all.
    """
    head_of = np.zeros(len(photos.names), np.int64) if head_of is None else head_of
    model = initialise(run, model, frozen_stages=frozen_stages)
    model.fc.requires_grad_(False)  # it has no part in this loss
    optimizer = training.sgd([(model.backbone.parameters(), lr), (model.heads.parameters(), head_lr)])
    views = training.features_once(run, photos, model) if frozen_stages == 5 else None

    def loss_of(network, index, generator):
        head, count = head_of[index[0]], len(index)
        if views:
            features, logits = network(features=views(index, generator), head=head, count=count)
        else:
            features, logits = network(data.training_images(photos, index, generator), head=head, count=count)
        return {"loss": contrastive_loss(features, logits, alpha=alpha, count=count)}

    groups = photos_of_heads(photos, head_of, len(model.heads))
    make_batches = lambda g: batches_of_groups(groups, batch_size, g)  # noqa: E731
    several = len(model.heads) > 1  # and each step trains one of them
    training.fit(run, model, optimizer, make_batches, loss_of, epochs=epochs, find_unused_parameters=several)
    decide_polarity(run, photos, model, head_of)
    return model


def photos_of_heads(photos, head_of, heads):
    """The trainval photos that train each head, a list of index arrays."""
    return [photos.trainval[head_of[photos.trainval] == head] for head in range(heads)]


def batches_of_groups(groups, batch_size, generator):
    """The batches of an epoch, in random order, each of photos of one group."""
    batches = [batch for group in groups if len(group) for batch in data.batches(group, batch_size, generator)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator)]


def border_minus_inside(logits):
    """How much more of the map P lies on the photo's border band than inside it: (N, h, w) logits to (N,).

    The band is one cell wide at 14 x 14, a fourteenth of the side in general. Pets are seldom there: a positive mean
    over the training photos says that the map shows the background.
    """
    p = logits.sigmoid()
    side = p.shape[-1]
    band = max(1, round(side / 14))
    inside = p[:, band:-band, band:-band]
    border_mean = (p.sum(dim=(1, 2)) - inside.sum(dim=(1, 2))) / (side**2 - (side - 2 * band) ** 2)
    return border_mean - inside.mean(dim=(1, 2))


@torch.inference_mode()
def decide_polarity(run, photos, model, head_of, chunk=64):
    """Set model.polarity of each head from the border band of its maps over the photos it was trained on."""
    found = {}
    for some in distributed.shard(data.chunks(photos.trainval, chunk)):
        with compute.autocast(run.settings):
            features, _ = model.features(compute.normalise(photos.batch(some)))
            logits = model.logits_of_heads(features, head_of[some])
        found.update(zip(some.tolist(), compute.to_numpy(border_minus_inside(logits)), strict=True))
    found = distributed.all_gather_dicts(found)
    border = np.array([found.get(i, 0.0) for i in range(len(photos.names))], float)
    groups = photos_of_heads(photos, head_of, len(model.heads))
    polarity = [-1.0 if len(own) and border[own].mean() > 0 else 1.0 for own in groups]
    model.polarity.copy_(torch.tensor(polarity))
    run.log(f"polarity: {polarity.count(-1.0)} of {len(polarity)} maps showed the background and are turned")


def checkpoint(model, settings, head_classes=("pet",)):
    """The plain dict from which `load` rebuilds a CCAM; polarity travels in the state."""
    return {
        "network": "ccam",
        "backbone": settings.backbone,
        "head_classes": list(head_classes),
        "guided": model.guided,
        "state": model.state_dict(),
    }


def load(settings, path):
    """Rebuild a CCAM from its checkpoint.

    Returns:
        (CCAM, names of the classes its heads are for: one name for each head, or ["pet"]).

    Raises:
        InputError: the file is missing, or holds no CCAM on this backbone.
    """
    saved = checkpoints.read_network(path, "ccam", settings.backbone, head_classes=classifiers.are_classes, guided=bool)
    fc = saved["state"].get("fc.weight")
    has_classes = isinstance(fc, torch.Tensor) and fc.ndim == 2
    classifier = classifiers.untrained(settings.backbone, len(fc) if has_classes else 0)
    model = CCAM(classifier, heads=len(saved["head_classes"]), guided=saved["guided"])
    checkpoints.fill(model, saved["state"], path)
    return model, saved["head_classes"]


def predictor(settings, photos, start, *, scales, choose_heads=None):
    """Photo indices (n,) to maps (n, S, S) in [0, 1]; see src/methods.

    Args:
        choose_heads: function, names of the heads' classes to the head of each photo, int64 (P+B,). None: the first.
    """
    model, head_classes = load(settings, start)
    heads = choose_heads(head_classes) if choose_heads else np.zeros(len(photos.names), np.int64)
    model = backbones.fuse_batchnorm(model)

    @torch.inference_mode()
    def predict(index):
        def maps_of(images):
            with compute.autocast(settings):
                return model.activation_maps(images, heads[index])

        images = compute.normalise(photos.batch(index))
        found = maps.multi_scale(maps_of, images, scales, centre=model.backbone.centre)
        return compute.to_numpy(maps.normalise(found))

    return predict
