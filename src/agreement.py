"""Whether a run was made of what is there now: settings, constants, photos, weights and the runs that it read."""

import json
from pathlib import Path

from src import InputError, files

AGAIN = "; --overwrite on that stage's command runs it anew"


def digests(settings):
    """For config.json: dict of what a run is made of, "weights" and upstream runs, -> digest of the files that tell."""
    told_by = {key: file for name, path in settings.upstreams.items() for key, file in _telling(name, path).items()}
    if Path(settings.weights).is_file():
        told_by["weights"] = Path(settings.weights)
    return {name: files.digest(path) for name, path in told_by.items()}


def _telling(name, path):
    """The files of an upstream run by what their digests are called: two summaries can be alike to the byte."""
    return {name: Path(path) / "summary.json", f"{name}, config.json": Path(path) / "config.json"}


def changed(settings, config):
    """What of the data root, photos or scenes, a run with this config.json saw otherwise; empty if it is the same."""
    before = config["photos"]
    return " and ".join(what for what, digest in settings.photos.items() if before.get(what, digest) != digest)


def must_agree(settings, path, config, names, constants=None):
    """Check that a finished run would come out the same today.

    Args:
        path, config: of the run, and what its config.json holds.
        names: settings that it must have been made with.
        constants: dict of those of its script, where they are known.

    Raises:
        InputError: it was made with others, of other photos or weights, or of a run that has been made anew since.
    """
    theirs = config["settings"] | config["constants"]
    ours = {name: getattr(settings, name) for name in names} | as_stored(constants or {})
    if "TEST_ONLY" in ours and not theirs.get("TEST_ONLY"):
        del ours["TEST_ONLY"]  # it has more than is asked for
    for name, value in ours.items():
        if str(value) != str(theirs.get(name, value)):
            flag = "--" + name.lower().replace("_", "-")
            text = f"{path} was made with {flag} {theirs[name]}, not {value}"
            anew = AGAIN.replace(";", ", or") if constants and name != "data_root" else ""  # those are another's
            raise InputError(f"{text}; use another --runs-root{anew}")
    if what := changed(settings, config):
        text = f"the {what} of {settings.data_root} have changed since {path} was made, or are others"
        raise InputError(f"{text}; --overwrite of reproduce.py runs all stages anew, another --runs-root keeps both")
    before = config.get("digests", {})
    if "weights" in before and digests(settings).get("weights", before["weights"]) != before["weights"]:
        raise InputError(f"{settings.weights} has changed since {path} was made; use another --runs-root")
    _must_be_fresh(path, config)


def agrees(*args):
    """Whether `must_agree` of these finds nothing."""
    try:
        must_agree(*args)
    except InputError:
        return False
    return True


def _must_be_fresh(path, config):
    """Check that none of the runs that a run was made of, and that those were made of, has been made anew since."""
    before = config.get("digests", {})
    for name, upstream in config.get("upstreams", {}).items():
        there = {key: file for key, file in _telling(name, upstream).items() if file.is_file()}
        if any(key in before and files.digest(file) != before[key] for key, file in there.items()):
            raise InputError(f"{path} was made of an earlier {upstream}{AGAIN}")
        if len(there) == 2:
            _must_be_fresh(upstream, files.read_json(Path(upstream) / "config.json", advice=AGAIN))


def as_stored(values):
    """Settings or constants as config.json gives them back."""
    return json.loads(json.dumps(values, default=str))
