"""The ensemble: several methods' maps, each thresholded by its own histogram, turned into a probability, averaged."""

import numpy as np

from src.postprocessing import masks


def otsu(maps, bins=64):
    """Otsu's threshold of each map: the one that parts its histogram into the two most distant classes.

    Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE Transactions on SMC, 1979. It looks at no
    ground truth and at no other photo, so a map that is dim as a whole is not lost.

    Args:
        maps: (N, H, W) in [0, 1].

    Returns:
        float32 (N,) thresholds in [0, 1].
    """
    found = []
    centres = (np.arange(bins) + 0.5) / bins
    for one in maps:
        counts = np.histogram(one, bins, (0, 1))[0].astype(float)
        below, mass = counts.cumsum()[:-1], (counts * centres).cumsum()
        above = counts.sum() - below
        distance = mass[:-1] / np.maximum(below, 1) - (mass[-1] - mass[:-1]) / np.maximum(above, 1)
        found.append((np.argmax(below * above * distance**2) + 1) / bins)
    return np.array(found, np.float32)


def predictor(members, *, threshold=0.0):
    """Photo indices (n,) to the mean probability of the members' maps, (n, S, S) in [0, 1].

    Args:
        members: predictors of other methods.
        threshold: where each map's probability is 0.5; 0 asks Otsu's method for each map's own.
    """

    def predict(index):
        total = 0
        for maps_of in members:
            found = maps_of(index)
            total = total + masks.probability(found, threshold or otsu(found)[:, None, None])
        return total / len(members)

    return predict
