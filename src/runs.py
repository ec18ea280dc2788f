"""Run directories: runs/<stage>/seed<N>/ is written by one stage and read by the next."""

import copy
import csv
import os
import re
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path

from src import InputError, agreement, check_choice, checkpoints, cli, compute, distributed, few, files, locks, records
from src.provenance import earlier, made_by, of_this_run

AGAIN = agreement.AGAIN


def stage_name(script, **variant):
    """Name of a stage: the script's stem and the values, where not empty, of the flags that tell its variants apart.

    >>> stage_name("train_ccam/train_ccam.py", init="cat_dog")
    'train_ccam_cat_dog'

    Raises:
        InputError: a value cannot be part of a folder's name.
    """
    for flag, value in variant.items():
        if value and not re.fullmatch(r"[\w-]+", value):
            raise InputError(f"--{flag} {value!r} names a folder; letters, digits, _ and - alone may be in it")
    return "_".join([Path(script).stem, *filter(None, variant.values())])


def find_script(pattern, without=None, **choice):
    """The script whose name fills the braces of a pattern, for constants that choose an upstream.

    find_script("train_ccam/train_{}.py", method="ccam") is train_ccam/train_ccam.py.

    Args:
        without: a further choice that needs no script; it gives None.

    Raises:
        InputError: there is no such script; names those there are.
    """
    (what, name), *_ = choice.items()
    if name == without:
        return None
    before, after = pattern.split("{}")
    there = sorted(path.relative_to(cli.ROOT).as_posix() for path in cli.ROOT.glob(f"{before}*{after}"))
    names = [path.removeprefix(before).removesuffix(after) for path in there]
    check_choice(what, name, [without, *names] if without else names)
    return pattern.format(name)


def command(settings, script, **variant):
    """The command line that makes a stage, to be copied by the reader."""
    return shlex.join(["python", from_here(script), *arguments(settings, **variant)])


def from_here(script):
    """Path of a script as it is called from the current directory."""
    try:
        return os.path.relpath(cli.ROOT / script)
    except (OSError, ValueError):  # the current directory is gone, or on another drive
        return str(cli.ROOT / script)


def arguments(settings, **variant):
    """Flags of a stage: its variant, then every other shared setting that is not the default (but not --overwrite)."""
    words = []
    for name, value in variant.items():
        words += [f"--{name}", value] if value else []
    for name, (default, _) in cli.constants(vars(cli)).items():
        value = getattr(settings, name.lower())
        if name in ("DATA_ROOT", "RUNS_ROOT"):
            default = files.resolved(cli.ROOT / default)
        if value != default and name != "OVERWRITE" and name.lower() not in variant:
            flag = name.lower().replace("_", "-")
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(default, bool) else [f"--{flag}", str(value)]
    return words


def directory(settings, script, **variant):
    """Path of the run directory of a stage, whether it exists or not."""
    return Path(settings.runs_root) / stage_name(script, **variant) / f"seed{settings.seed}"


def finished(path):
    """Whether the run in this directory came to its end."""
    return (Path(path) / "summary.json").is_file()


def upstream(settings, script, **variant):
    """The finished run directory that this stage reads.

    Returns:
        Path of the run; it is also noted in settings.upstreams for config.json.

    Raises:
        InputError: the run is missing or unfinished (with the command to run), or made with another network.
    """
    path = directory(settings, script, **variant)
    if not finished(path):
        what = "unfinished" if path.exists() else "missing"
        raise InputError(f"{path} is {what}; first run: {command(settings, script, **variant)}")
    agreement.must_agree(settings, path, records.config_of(path), ("backbone", "weights", "image_size"))
    settings.upstreams[stage_name(script, **variant)] = str(path)
    return path


def checkpoint(settings, script, **variant):
    """Path of an upstream run's checkpoint, see `upstream`; None, the pretrained network, for no script."""
    return script and upstream(settings, script, **variant) / "checkpoint.pt"


def sweep(path):
    """Remove what only an unfinished run needs from a finished one, where a kill has left it and nobody is there."""
    path = Path(path)
    if any(path.rglob("resume.pt")) or (path / "lock").exists():
        with suppress(InputError):  # another process has begun it anew
            lock = locks.Lock(path / "lock", path, patience=0)
            if finished(path):
                for state in path.rglob("resume.pt"):
                    state.unlink(missing_ok=True)
            lock.release()


def discard(path):
    """Remove what a run has left in its directory.

    Raises:
        InputError: it is going on.
    """
    if path.is_dir():
        lock = locks.Lock(path / "lock", path)
        _empty(path)
        lock.release()


def _empty(path):
    """Remove what a run has left in its directory but the lock.

    Raises:
        InputError: there is something, but no run.
    """
    others = [p.name for p in path.iterdir() if p.suffix != ".part" and p.name != "lock"]
    if others and not {"config.json", "summary.json"} & {*others}:
        raise InputError(f"{path} holds {few(others)}, but no run; move that, or use another --runs-root")
    files.empty(path, "summary.json", "config.json", "lock")  # half emptied it is not finished, a run, and locked


class Run:
    """The run directory that a script writes.

    Holds config.json, log.txt, metrics.csv (a row an epoch), checkpoint.pt, masks/*.png, curves.png, preview.png and,
    last, summary.json: its presence means finished. A finished run is refused without --overwrite; an unfinished one
    made of the same (settings, constants, photos, upstreams) goes on from its last epoch, otherwise it is refused too.
    """

    def __init__(self, settings, **variant):
        self.settings, self.variant = settings, variant
        self.stage = stage_name(settings.script, **variant)
        self.home = self.path = directory(settings, settings.script, **variant)
        self.start, self.truths = time.monotonic(), None  # digest of the ground truths that it is scored against
        with distributed.main_process_first():
            if distributed.rank() == 0:
                self._open()

    def _open(self):
        settings, config = self.settings, self._config()
        self._refuse_if_finished()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = locks.Lock(self.path / "lock", self.path)
        self._refuse_if_finished("another process has finished it meanwhile")
        if settings.overwrite:
            _empty(self.path)
        if (self.path / "config.json").exists():
            before = records.config_of(self.path)
            for part in ("settings", "constants"):
                if before[part] != agreement.as_stored(config[part]):
                    raise InputError(f"{self.path} is an unfinished run with other {part}; --overwrite runs it anew")
            if what := agreement.changed(settings, before):
                raise InputError(f"{self.path} is an unfinished run of other {what}; --overwrite runs it anew")
            if before.get("digests", config["digests"]) != config["digests"]:
                what = "weights, or of an upstream run as it was before"
                raise InputError(f"{self.path} is an unfinished run of other {what}; --overwrite runs it anew")
            config |= earlier(before, config)
        files.write_json(self.path / "config.json", config)
        self.log(f"{self.stage}, seed {settings.seed}, in {self.path}")

    def _refuse_if_finished(self, why="--overwrite runs it anew"):
        if finished(self.path) and not self.settings.overwrite:
            sweep(self.path)
            raise InputError(f"{self.path} is finished; {why}")

    def _config(self):
        s = self.settings
        shared = {name.lower(): getattr(s, name.lower()) for name in cli.constants(vars(cli)) if name != "OVERWRITE"}
        return {
            "stage": self.stage,
            "settings": shared,
            "constants": s.constants,
            "argv": sys.argv,
            "upstreams": s.upstreams,
            "photos": s.photos,
            "digests": agreement.digests(s),
            **of_this_run(),
        }

    def _must_be_there(self):
        if not (self.home / "config.json").exists():
            raise InputError(f"{self.home} has vanished while it was written; the same command makes it anew")

    def log(self, text):
        """Print a line and keep it in log.txt."""
        if distributed.rank():
            return
        print(text, flush=True)
        self._must_be_there()
        with files.appending(self.path / "log.txt") as file:
            file.write(text + "\n")

    def part(self, name):
        """A folder of this run with a training of its own, such as a round; what it logs goes into this run's log."""
        part = copy.copy(self)
        part.path, part.log = self.path / name, self.log
        part.path.mkdir(exist_ok=True)
        return part

    def row(self, epoch, values):
        """Append a row to metrics.csv; `epoch` counts from 1. Rows of an interrupted later epoch are dropped."""
        if distributed.rank():
            return
        self._must_be_there()
        path = self.path / "metrics.csv"
        rows = []
        if path.exists():
            rows = [row for row in files.read_numbers(path, AGAIN, ["epoch", *values]) if float(row["epoch"]) < epoch]
        rows.append({"epoch": epoch, **{k: f"{v:.6g}" for k, v in values.items()}})
        with files.writing(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)

    def keep(self, state):
        """Save what an interrupted training needs to go on; `finish` removes it."""
        if distributed.rank() == 0:
            checkpoints.write(self.path / "resume.pt", state)

    def resume(self):
        """What `keep` saved last, or None; InputError if it is damaged."""
        path = self.path / "resume.pt"
        if not path.exists():
            return None
        try:
            state = checkpoints.read(path)
            kinds = {"model": dict, "optimizer": dict, "epoch": int}
            if not isinstance(state, dict) or not all(isinstance(state.get(k), kind) for k, kind in kinds.items()):
                raise InputError(f"{path} is no state of a training")
        except InputError as error:
            raise InputError(f"{error}; without that file the same command starts from the first epoch") from None
        return state

    def save(self, checkpoint):
        """Write checkpoint.pt: a plain dict of tensors and constructor arguments."""
        if distributed.rank() == 0:
            checkpoints.write(self.path / "checkpoint.pt", checkpoint)

    def finish(self, scores, next_script=None, **next_variant):
        """Write summary.json, remove what only a resume needs, and print score, place and next command.

        Args:
            scores: dict split -> dict of fractions in 0..1 (and, under other names, whatever else was measured).
            next_script: what to run next in the chain, with its variant.
        """
        if distributed.rank():
            return
        self._must_be_there()
        peak = compute.peak_memory()
        seconds = round(time.monotonic() - self.start, 1)
        for split, values in scores.items():
            numbers = {k: v for k, v in values.items() if isinstance(v, float)}
            if numbers:
                self.log(f"{split}: " + ", ".join(f"{k} {v:.4f}" for k, v in numbers.items()))
        config = records.config_of(self.path)
        scored = {} if self.truths is None else {"truths": self.truths}
        files.flush_all()  # summary.json says that all of it is there
        files.write_json(
            self.path / "summary.json",
            {"stage": self.stage, "seed": self.settings.seed, "seconds": seconds,
             "peak_memory_mb": peak and round(peak / 2**20), "precision": compute.precision(self.settings),
             **made_by(config), **scored, "metrics": scores},
        )  # fmt: skip
        self._lock.release()
        sweep(self.path)
        self.log(f"done in {seconds:.0f} s: {self.path}")
        if next_script:
            self.log(f"next: {command(self.settings, next_script, **next_variant)}")
