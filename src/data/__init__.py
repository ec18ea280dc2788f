"""Photos: `load` opens a data root, `augmentation` makes batches of it."""

from src.data.augmentation import augment, batches, chunks, randomness, training_images
from src.data.layouts import load
from src.data.photos import PhotoSet
from src.data.subset import select

__all__ = ["PhotoSet", "augment", "batches", "chunks", "load", "randomness", "select", "training_images"]
