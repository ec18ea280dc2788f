"""CCAM: class-agnostic activation maps from contrast between foreground and background (Xie et al., CVPR 2022)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from src import compute, models, runs
from src.errors import InputError

COSINE_RANGE = (0.0005, 0.9995)  # keeps both logarithms finite, as in the published code


class CCAM(nn.Module):
    """One or several activation heads (3x3 convolution, BatchNorm) on the concatenated last two stages.

    Args:
        classifier: models.Classifier whose backbone is used; its fc stays, for CCAM+ECS.
        heads: number of maps; class-specific CCAM has one for each class.
        guided: P was trained towards an ECS-CAM (CCAM+ECS) and so is a map in [0, 1] by itself. A CCAM left alone
            saturates: its P is near 1 far beyond the pet, and the logit is the better map.
    """

    def __init__(self, classifier, heads=1, guided=False):
        super().__init__()
        self.guided = guided
        self.backbone, self.fc = classifier.backbone, classifier.fc
        channels = sum(self.backbone.channels[3:])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1)) for _ in range(heads)
        )
        # The loss is symmetric in foreground and background; +1 or -1 says which side the pet is on.
        self.register_buffer("polarity", torch.ones(heads))

    def features(self, photos):
        """Photos (N, 3, H, W) to concatenated features (N, C4 + C5, h, w) and the last stage's alone (N, C5, h, w)."""
        before, last = self.backbone(photos)
        return torch.cat([before, last], dim=1), last

    def logits(self, features, head=0, count=None):
        """(N, h, w) float32 logits of one head; its sigmoid is the map P of the paper. Polarity is not applied.

        `count` is that of `compute.gather`: the photos of the whole batch, of which these are a process's share.
        """
        convolution, norm = self.heads[head]
        maps = convolution(features)
        if self.training:  # with the statistics of the whole batch, not of this process's share
            maps = compute.share(norm(compute.gather(maps, count)))
        else:
            maps = norm(maps)
        return maps[:, 0].float()

    def logits_of(self, features, heads):
        """Logits (N, h, w) of features (N, C, h, w), each photo's from its own head (N,)."""
        logits = features.new_empty(len(features), *features.shape[2:], dtype=torch.float32)
        for head in np.unique(heads):
            own = compute.upload(np.flatnonzero(heads == head))
            logits[own] = self.logits(features[own], int(head))
        return logits

    def maps(self, photos, heads):
        """Maps before normalisation, (N, h, w) >= 0: P where the training was guided, else ReLU of the logits.

        Args:
            photos: (N, 3, H, W) normalised photos.
            heads: (N,) which head to ask for each photo.
        """
        logits = self.logits_of(self.features(photos)[0], heads)
        logits = logits * self.polarity[compute.upload(heads)].view(-1, 1, 1)
        return logits.sigmoid() if self.guided else logits.relu()


def contrast(features, logits):
    """Mean features under the map and under its complement: two (N, C) float32 tensors.

    Args:
        features: (N, C, h, w).
        logits: (N, h, w); the map P is their sigmoid.
    """
    p = logits.sigmoid()
    features, area = features.float(), p.shape[1] * p.shape[2]
    foreground = torch.einsum("nchw,nhw->nc", features, p) / area
    background = torch.einsum("nchw,nhw->nc", features, 1 - p) / area
    return foreground, background


def sim_max(vectors, alpha):
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


def loss(features, logits, alpha, count=None):
    """CCAM's loss: SimMax(fg) + SimMax(bg) + SimMin(fg, bg), a scalar, in full precision, over all processes' photos.

    `count` is that of `compute.gather`. In bf16 a cosine of 0.9995 is 1, and its logarithm in SimMin infinite.
    """
    with compute.full_precision():
        foreground, background = (compute.gather(vectors, count) for vectors in contrast(features, logits))
        return sim_max(foreground, alpha) + sim_max(background, alpha) + sim_min(foreground, background)


def _cosine(a, b):
    return (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).clamp(*COSINE_RANGE)


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


def checkpoint(model, settings, classes, head_classes):
    """The plain dict from which `load` rebuilds a CCAM; polarity travels in the state."""
    return {
        "network": "ccam",
        "backbone": settings.backbone,
        "classes": list(classes or []),
        "head_classes": list(head_classes),
        "guided": model.guided,
        "image_size": settings.image_size,
        "state": model.state_dict(),
    }


def load(path, backbone):
    """Rebuild a CCAM from its checkpoint.

    Returns:
        (CCAM, names of the classes its heads are for: one name for each head, or ["pet"]).
    """
    saved = runs.load_tensors(path)
    if saved.get("network") != "ccam" or saved["backbone"] != backbone:
        raise InputError(f"{path} holds a {saved.get('network')} on {saved.get('backbone')}, not a CCAM on {backbone}")
    classifier = models.untrained(backbone, saved["state"]["fc.weight"].shape[0])
    model = CCAM(classifier, len(saved["head_classes"]), saved["guided"])
    model.load_state_dict(saved["state"])
    return model, saved["head_classes"]
