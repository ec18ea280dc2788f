"""The photos of a data root: names, labels, splits and pixels."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from src import InputError, few, files


@dataclass(frozen=True)
class Listing:
    """What a layout says of a data root before any photo is opened; lists have an entry a photo.

    Args:
        names: of the photos' masks, relative paths without suffix. paths: of the photos.
        splits: "trainval" or "test".
        species, breeds: class keys; None where a photo shows none or several. The same where there is one level only.
        species_names, breed_names: dict class key -> name, in the order of the classes.
        truths: path of the ground truth, or None. Only evaluation and training on the ground truth may open it.
        trimaps: whether those are Oxford's trimaps (1 pet, 2 background, 3 border) or masks (0 background, 255 unsure).
    """

    names: list
    paths: list
    splits: list
    species: list
    breeds: list
    species_names: dict
    breed_names: dict
    truths: list
    trimaps: bool


@dataclass(frozen=True)
class PhotoSet:
    """Photos of pets (indices 0..P-1), then pet-free background photos (indices P..P+B-1).

    species and breeds are int64 arrays (P+B,) of class indices; background photos are the class after the last, photos
    without a class or with several are -1. trainval and test are index arrays into the pets, background into the rest.
    pixels holds uint8 (3, S, S) photos. truths and trimaps are those of `Listing`.
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
    truths: list
    trimaps: bool

    def only_test(self):
        """The same without trainval photos.

        Raises:
            InputError: there is no test photo.
        """
        if not len(self.test):
            raise InputError(f"--test-only, but {self.root} has no test photo")
        return replace(self, trainval=self.trainval[:0])

    def only_trainval(self):
        """The same without test photos."""
        return replace(self, test=self.test[:0])

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
        if (labels < 0).any():
            raise InputError(
                f"{(labels < 0).sum()} photos of {self.root} have no class or several: CCAM of all is for them"
            )
        return labels

    def with_truth(self, index):
        """Those of these photos that have a ground truth."""
        return np.array([i for i in index if self.truths[i]], np.int64)

    @cached_property
    def digest_of_truths(self):
        """What tells whether any photo has another ground truth than before."""
        of_names = {name: path for name, path in zip(self.names, self.truths, strict=True) if path}
        return files.digest_of([[name, path.is_file() and files.digest(path)] for name, path in of_names.items()])

    def has_truths(self):
        """Whether any photo has a ground truth."""
        return any(self.truths)


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
