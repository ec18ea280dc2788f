"""Photos: `load` opens a data root, `augmentation` makes batches of it."""

from src.data.augmentation import augment, batches, chunks, randomness, training_images
from src.data.boxes import boxes_of
from src.data.layouts import layout_of, load
from src.data.photos import PhotoSet
from src.data.subset import select

__all__ = [
    "PhotoSet", "augment", "batches", "boxes_of", "chunks", "layout_of", "load", "randomness", "select",
    "training_images",
]  # fmt: skip
