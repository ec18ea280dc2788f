"""The photos of a data root: names, labels, splits and pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from src import InputError, few


@dataclass(frozen=True)
class PhotoSet:
    """Photos of pets (indices 0..P-1), then pet-free background photos (indices P..P+B-1).

    species and breeds are int64 arrays (P+B,) of class indices; background photos are the class after the last.
    trainval and test are index arrays into the pets, background into the rest. pixels holds uint8 (3, S, S) photos.
    """

    root: Path
    names: list
    paths: list
    species: np.ndarray
    breeds: np.ndarray
    species_names: list
    breed_names: list
    trainval: np.ndarray
    test: np.ndarray
    background: np.ndarray
    pixels: "Pixels"

    def batch(self, index):
        """uint8 tensor (N, 3, S, S) of the photos at these indices."""
        return torch.from_numpy(np.stack([self.pixels[int(i)] for i in index]))

    def class_labels(self, classes):
        """Labels of a classifier's classes: (int64 (P+B,), number of pet classes), or (None, None) if not ours."""
        pets = [name for name in classes or [] if name != "background"]
        for labels, names in ((self.species, self.species_names), (self.breeds, self.breed_names)):
            if pets == names:
                return labels, len(names)
        return None, None

    def heads_of(self, names):
        """Which of a class-specific CCAM's heads, given the classes they are for, belongs to each photo.

        Raises:
            InputError: the heads are for other classes than those of this data root.
        """
        labels, _ = self.class_labels(names)
        if labels is None:
            raise InputError(f"the checkpoint's classes ({few(names)}) are not those of {self.root}")
        return labels

    def trimap_path(self, i):
        """Where the trimap of photo i is. Only evaluation and training on the ground truth may open it."""
        return self.root / "oxford-iiit-pet" / "annotations" / "trimaps" / f"{self.names[i]}.png"

    def has_trimaps(self):
        return (self.root / "oxford-iiit-pet" / "annotations" / "trimaps").is_dir()


class Pixels:
    """Several memory-mapped uint8 arrays (N_k, 3, S, S) read as one."""

    def __init__(self, arrays):
        self.arrays = [array for array in arrays if len(array)]

    def __getitem__(self, i):
        for array in self.arrays:
            if i < len(array):
                return array[i]
            i -= len(array)
        raise IndexError(i)
