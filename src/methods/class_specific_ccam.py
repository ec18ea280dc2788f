"""Class-specific CCAM: one CCAM head for each class on a shared frozen backbone, trained on that class's photos alone.

At inference a photo's label says whose map to take, on test too: the method cannot do without.
"""

from src import InputError
from src.methods import ccam

STARTS_FROM = "class_specific_ccam"


def train(run, photos, model, labels, *, epochs, batch_size, alpha, head_lr):
    """Train a CCAM with a head a class; see ccam.train.

    Args:
        labels: int64 (P+B,), class of each photo.

    Raises:
        InputError: a class has no trainval photo, so that its head would stay random.
    """
    lacking = set(range(len(model.heads))) - set(labels[photos.trainval].tolist())
    if lacking:
        raise InputError(f"{len(lacking)} of {len(model.heads)} classes have no trainval photo in {photos.root}")
    return ccam.train(
        run, photos, model, epochs=epochs, batch_size=batch_size, alpha=alpha, lr=0.0, head_lr=head_lr,
        frozen_stages=5, head_of=labels,
    )  # fmt: skip


def predictor(settings, photos, start, *, scales):
    """Photo indices (n,) to the maps of each photo's own class, (n, S, S) in [0, 1]; see src/methods."""
    return ccam.predictor(settings, photos, start, scales=scales, choose_heads=photos.heads_of)
