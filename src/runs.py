"""Run directories: runs/<stage>/seed<N>/ is written by one stage and read by the next."""

import copy
import csv
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchvision

from src import InputError, check_choice, cli, compute, distributed


def stage_name(script, **variant):
    """Name of a stage: the script's stem and the values, where not empty, of the flags that tell its variants apart.

    >>> stage_name("train_ccam/train_ccam.py", init="cat_dog")
    'train_ccam_cat_dog'
    """
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
    return shlex.join(["python", str(script), *arguments(settings, **variant)])


def arguments(settings, **variant):
    """Flags of a stage: its variant, then every shared setting that is not the default (but not --overwrite)."""
    words = []
    for name, value in variant.items():
        words += [f"--{name}", value] if value else []
    for name, (default, _) in cli.constants(vars(cli)).items():
        value = getattr(settings, name.lower())
        changed = value != cli.ROOT / default if name in ("DATA_ROOT", "RUNS_ROOT") else value != default
        if changed and name != "OVERWRITE":
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
    must_agree(settings, path, ("backbone", "weights", "image_size"))
    settings.upstreams[stage_name(script, **variant)] = str(path)
    return path


def checkpoint(settings, script, **variant):
    """Path of an upstream run's checkpoint, see `upstream`; None, the pretrained network, for no script."""
    return script and upstream(settings, script, **variant) / "checkpoint.pt"


def must_agree(settings, path, names):
    """Raise InputError if a run was made with another value of one of these settings."""
    made_with = read_json(path / "config.json")["settings"]
    for name in names:
        ours = str(getattr(settings, name))
        if str(made_with[name]) != ours:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{path} was made with {flag} {made_with[name]}, not {ours}; use another --runs-root")


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path, value):
    """Write to a temporary file and rename, so that a reader never sees half a file."""
    part = Path(f"{path}.part")
    part.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(part, path)


def save_tensors(path, value):
    """torch.save through a temporary file; equal values give equal bytes (the archive's name is fixed)."""
    part = Path(f"{path}.part")
    with part.open("wb") as file:  # a file object, because a name would be written into the archive
        torch.save(value, file)
    os.replace(part, path)


def load_tensors(path):
    """Read what save_tensors wrote, or a .safetensors file; code in the file is never run.

    Raises:
        InputError: the file is missing or holds anything but tensors and plain values.
    """
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with timm

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no such weights file: {path}") from None
    except ImportError:
        raise InputError(f"{path} needs the package safetensors (pip install safetensors)") from None
    except Exception as error:  # torch raises half a dozen types for a file that is not a checkpoint
        raise InputError(f"{path} is not a readable checkpoint: {str(error).splitlines()[0]}") from None


class Run:
    """The run directory that a script writes.

    Holds config.json, log.txt, metrics.csv (a row an epoch), checkpoint.pt, masks/*.png, curves.png, preview.png and,
    last, summary.json: its presence means finished. A finished run is refused without --overwrite; an unfinished one
    with the same constants goes on from its last epoch (`resume`), with others it is refused as well.
    """

    def __init__(self, settings, **variant):
        self.settings, self.variant = settings, variant
        self.stage = stage_name(settings.script, **variant)
        self.path = directory(settings, settings.script, **variant)
        self.start = time.time()
        with distributed.main_process_first():
            if distributed.rank() == 0:
                self._open()

    def _open(self):
        settings, config = self.settings, self._config()
        if finished(self.path) and not settings.overwrite:
            raise InputError(f"{self.path} is finished; --overwrite runs it anew")
        if settings.overwrite and self.path.exists():
            shutil.rmtree(self.path)
        if (self.path / "config.json").exists():
            before = read_json(self.path / "config.json")
            for part in ("settings", "constants"):
                if before[part] != json.loads(json.dumps(config[part], default=str)):
                    raise InputError(f"{self.path} is an unfinished run with other {part}; --overwrite runs it anew")
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "config.json", config)
        self.log(f"{self.stage}, seed {settings.seed}, in {self.path}")

    def _config(self):
        s = self.settings
        shared = {name.lower(): getattr(s, name.lower()) for name in cli.constants(vars(cli)) if name != "OVERWRITE"}
        return {
            "stage": self.stage,
            "settings": shared,
            "constants": s.constants,
            "argv": sys.argv,
            "upstreams": s.upstreams,
            "commit": _commit(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
                         "torchvision": torchvision.__version__},
            "world_size": distributed.world_size(),
            "device": compute.device_name(),
        }  # fmt: skip

    def log(self, text):
        """Print a line and keep it in log.txt."""
        if distributed.rank():
            return
        print(text, flush=True)
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
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
        path = self.path / "metrics.csv"
        rows = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
        rows.append({"epoch": epoch, **{k: f"{v:.6g}" for k, v in values.items()}})
        part = path.with_suffix(".part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        os.replace(part, path)

    def keep(self, state):
        """Save what an interrupted training needs to go on; `finish` removes it."""
        if distributed.rank() == 0:
            save_tensors(self.path / "resume.pt", state)

    def resume(self):
        """What `keep` saved last, or None."""
        path = self.path / "resume.pt"
        return load_tensors(path) if path.exists() else None

    def save(self, checkpoint):
        """Write checkpoint.pt: a plain dict of tensors and constructor arguments."""
        if distributed.rank() == 0:
            save_tensors(self.path / "checkpoint.pt", checkpoint)

    def finish(self, scores, next_script=None, **next_variant):
        """Write summary.json, remove what only a resume needs, and print score, place and next command.

        Args:
            scores: dict split -> dict of fractions in 0..1 (and, under other names, whatever else was measured).
            next_script: the script that reads this run, with its variant.
        """
        if distributed.rank():
            return
        peak = compute.peak_memory()
        seconds = round(time.time() - self.start, 1)
        for split, values in scores.items():
            numbers = {k: v for k, v in values.items() if isinstance(v, float)}
            if numbers:
                self.log(f"{split}: " + ", ".join(f"{k} {v:.4f}" for k, v in numbers.items()))
        for path in self.path.rglob("resume.pt"):  # of its parts, too
            path.unlink()
        config = read_json(self.path / "config.json")
        write_json(
            self.path / "summary.json",
            {"stage": self.stage, "seed": self.settings.seed, "seconds": seconds,
             "peak_memory_mb": peak and round(peak / 2**20), "precision": compute.precision(self.settings),
             "commit": config["commit"], "device": config["device"], "metrics": scores},
        )  # fmt: skip
        self.log(f"done in {seconds:.0f} s: {self.path}")
        if next_script:
            self.log(f"next: {command(self.settings, next_script, **next_variant)}")


def _commit():
    """The commit of the code, with +changes where the tree differs (results apart); empty outside a git checkout."""

    def git(*words):
        words = ["git", "-C", str(cli.ROOT), *words]
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benchmarks/results")
        return git("describe", "--always") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return ""
