"""A method is one file of this folder: what it is, what it starts from, how it trains, and its `predictor`.

    STARTS_FROM: what `start` is the checkpoint of: "classifier", "ccam" or "class_specific_ccam".
    predictor(settings, photos, start, *, scales, ...): function, photo indices (n,) to float32 maps (n, S, S) in
        [0, 1], S being --image-size. start None is the pretrained network; further keyword arguments are the method's
        own and have defaults.

Whoever makes masks, scores or averages of methods uses nothing else of them.
"""

import importlib
import pkgutil

from src import check_choice


def get(name):
    """The module of a method.

    Raises:
        InputError: no such file in this folder; names those there are.
    """
    check_choice("method", name, sorted(module.name for module in pkgutil.iter_modules(__path__)))
    return importlib.import_module(f"{__name__}.{name}")
