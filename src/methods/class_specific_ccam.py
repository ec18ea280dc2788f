"""Class-specific CCAM: one CCAM head for each class on a shared frozen backbone, trained on that class's photos alone.

At inference a photo's label says whose map to take, on test too: the method cannot do without.
"""

from src.methods import ccam

STARTS_FROM = "class_specific_ccam"


def train(run, photos, model, labels, *, epochs, batch_size, alpha, head_lr):
    """Train a CCAM with a head a class; see ccam.train.

    Args:
        labels: int64 (P,), class of each photo.
    """
    return ccam.train(
        run, photos, model, epochs=epochs, batch_size=batch_size, alpha=alpha, lr=0.0, head_lr=head_lr,
        frozen_stages=5, head_of=labels,
    )  # fmt: skip


def predictor(settings, photos, start, *, scales):
    """Photo indices (n,) to the maps of each photo's own class, (n, S, S) in [0, 1]; see src/methods."""
    return ccam.predictor(settings, photos, start, scales=scales, choose_heads=photos.heads_of)
