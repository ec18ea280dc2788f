"""A method is one file of this folder: what it is, what it starts from, how it trains, and its `predictor`.

    STARTS_FROM: what `start` is the checkpoint of: "classifier", "ccam" or "class_specific_ccam".
    predictor(settings, photos, start, *, scales, ...): function, photo indices (n,) to float32 maps (n, S, S) in
        [0, 1], S being --image-size. start None is the pretrained network; further keyword arguments are the method's
        own and have defaults.

Whoever makes masks, scores or averages of methods uses nothing else of them. The ensemble and class evidence start from
other predictors instead.
"""

import importlib
import inspect
import math
import pkgutil

from src import InputError, check_choice


def get(name, starts_from=("classifier", "ccam", "class_specific_ccam")):
    """The module of a method that starts from one of these.

    Raises:
        InputError: there is no such file in this folder; names those there are.
    """
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = {m.__name__.rpartition(".")[2]: m for m in modules if getattr(m, "STARTS_FROM", None) in starts_from}
    check_choice("method", name, sorted(found))
    return found[name]


def predictor(method, settings, photos, start, *, scales, options=()):
    """Predictor of a method (a module).

    Args:
        options: the method's own keyword arguments as texts "name=number"; an empty text is none.

    Raises:
        InputError: the method has no such option, or its value is not a number.
    """
    own = {}
    keywords = [p.name for p in inspect.signature(method.predictor).parameters.values() if p.kind == p.KEYWORD_ONLY]
    names = [name for name in keywords if name != "scales"]
    for text in filter(None, options):
        name, _, value = text.partition("=")
        check_choice("option", name, names)
        try:
            own[name] = float(value)
        except ValueError:
            own[name] = math.nan
        if not math.isfinite(own[name]):
            raise InputError(f"option {text!r}: {value!r} is not a number")
    return method.predictor(settings, photos, start, scales=scales, **own)
