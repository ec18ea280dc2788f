"""Constants become flags: `cli.run(main, globals())` at the end of a script is all its command line."""

import argparse
import ast
import math
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from src import InputError, compute, distributed, files, locks

ROOT = Path(__file__).resolve().parents[1]

# What every script takes, one block for all: the stages of a chain must agree on seed, network, size and photos.
DATA_ROOT = "data"  # folder of photos, in one of the layouts of data/README.md; data/sample is the drawn one
LAYOUT = "auto"  # of the data root: auto (found by looking), oxford, voc or folders
RUNS_ROOT = "runs"  # folder of the run directories
SEED = 0  # of everything random; part of the run directory's name
BACKBONE = "resnet50"  # resnet18, resnet34, resnet50, resnet101, resnet152, mobilenet_v2, or timm:NAME of timm's
WEIGHTS = "imagenet"  # imagenet (downloaded by torchvision or timm), random, or a file
IMAGE_SIZE = 224  # pixels a side that the networks see
AMP = True  # bf16 autocast where the hardware multiplies bf16 faster than fp32
SYNC_BATCHNORM = False  # under torchrun on GPUs: BatchNorm of the whole batch in place of each process's part
PASSES = 1.0  # of every training, as a multiple of its EPOCHS: many photos want fewer
SKIP_BAD_PHOTOS = False  # leave unreadable or unlabelled photos out instead of stopping
OVERWRITE = False  # start a finished or changed run anew

LIMITS = {  # of constants, whichever script has them; every other number must at least be finite
    "SEED": (0, 2**32 - 1), "IMAGE_SIZE": (48, 4096), "SIZE": (32, 4096), "PASSES": (0, 1e4), "EPOCHS": (1, 10**6),
    "ROUNDS": (1, 100), "BATCH_SIZE": (1, 65536), "JOBS": (1, 1024), "FROZEN_STAGES": (0, 5), "SCALES": (0.1, 8),
    "THRESHOLD": (0, 1), "IGNORE_BAND": (0, 0.5), "DILATE": (0, 0.5), "KEEP": (0, 1), "LEVEL": (0, 1),
    "EMPTY_BELOW": (0, 1), "LR": (0, 1e3), "HEAD_LR": (0, 1e3), "ROWS": (1, 1000), "MAX_SIDE": (32, 65536),
    "EARLY": (0, 1), "WORST": (0, 10**6), "DRAWINGS": (1, 10**7), "HELD_OUT": (1, 10**7),
    "PET_VALUES": (0, 255), "ALPHA": (0, 1e3), "DELTA": (0, 1), "THETA": (0, 1), "ECS_WEIGHT": (0, 1e6),
    "CLASS_WEIGHT": (0, 1e6), "PHOTOS_A_PASS": (1, 10**9), "LEAST_SURE": (1, 1000),
    "EVIDENCE": (0, 100),
}  # fmt: skip


def constants(script):
    """UPPER_CASE constants of a module.

    Args:
        script: the module's globals.

    Returns:
        dict name -> (value, trailing comment) of the bool, int, float, str and tuple literals, in the file's order.
    """
    found, text = {}, Path(script["__file__"]).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, note = node.targets[0].id, text.splitlines()[node.end_lineno - 1].partition("  # ")[2]
            if note and name.isupper() and isinstance(script.get(name), (bool, int, float, str, tuple)):
                found[name] = (script[name], note)
    return found


def _add_flag(group, name, default, note):
    kind = {"type": type(default), "metavar": type(default).__name__}
    if isinstance(default, bool):
        kind = {"action": argparse.BooleanOptionalAction}
    elif isinstance(default, tuple):
        kind = {"type": type(default[0]), "nargs": "+", "metavar": type(default[0]).__name__}
    flag = "--" + name.lower().replace("_", "-")
    shown = "" if default == "" else " (%(default)s)"
    group.add_argument(flag, dest=name, default=default, help=note.replace("%", "%%") + shown, **kind)


class _Parser(argparse.ArgumentParser):
    """argparse with one line for a mistake, without the usage before it."""

    def error(self, message):
        self.exit(2, f"error: {message}; --help lists the flags\n")


def override(script, argv=None):
    """Parse flags built from the constants of a script and of this file.

    The script's own constants are set in its globals; where it repeats a shared one, its value is the default.

    Args:
        script: the script's globals().
        argv: list of arguments; None reads sys.argv.

    Returns:
        SimpleNamespace with the shared settings in lower case (data_root, layout, runs_root, seed, backbone, weights,
        image_size, amp, sync_batchnorm, passes, skip_bad_photos, overwrite), `script` (its path), `constants` (its own,
        resolved), `upstreams` (filled by runs.upstream) and `photos` (by data.load and data.boxes_of).

    A misspelt flag or a value of the wrong type ends the program with one line and exit code 2.
    """
    own, shared = constants(script), constants(globals())
    parser = _Parser(
        description=script["__doc__"], allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    experiment = parser.add_argument_group("this experiment")
    house = parser.add_argument_group("every script")
    for name, (default, note) in {**shared, **own}.items():
        if name in ("DATA_ROOT", "RUNS_ROOT"):  # the defaults are the project's, from whichever directory
            default = str(ROOT / default)
        if default == ():  # takes the words without a flag
            experiment.add_argument(name, nargs="+", metavar=name.lower(), help=note)
        else:
            _add_flag(house if name in shared else experiment, name, default, note)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(parser.parse_args(argv)).items()}
    for name, value in values.items():  # empty as from a variable of the shell that is not set
        default, _ = {**shared, **own}[name]
        if default == () and "" in value:
            parser.error(f"argument {name.lower()}: one is empty")
        if value == "" and default:
            parser.error(f"argument --{name.lower().replace('_', '-')}: it is empty")
    script.update({name: values[name] for name in own})
    settings = SimpleNamespace(**{name.lower(): values[name] for name in shared})
    settings.data_root = files.resolved(settings.data_root)
    settings.runs_root = files.resolved(settings.runs_root)
    if settings.weights not in ("imagenet", "random"):  # a file is the same one for a stage started elsewhere
        settings.weights = str(files.resolved(settings.weights))
    settings.script = Path(script["__file__"]).resolve()
    settings.constants = {name: values[name] for name in own if name not in shared}
    settings.upstreams, settings.photos = {}, {}
    for name, value in values.items():
        _check_numbers(parser, name, value if isinstance(value, tuple) else (value,))
    for name in ("IMAGE_SIZE", "SIZE"):
        if values.get(name, 16) % 16:
            parser.error(f"argument --{name.lower().replace('_', '-')}: a multiple of 16, the networks' stride")
    return settings


def _check_numbers(parser, name, values):
    least, most = LIMITS.get(name, (-math.inf, math.inf))
    flag = "--" + name.lower().replace("_", "-")
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            parser.error(f"argument {flag}: {value} is no finite number")
        if name in LIMITS and not least <= value <= most:
            parser.error(f"argument {flag}: " + (f"at least {least}" if value < least else f"at most {most}"))


def run(main, script, argv=None, alone=False):
    """Seed everything and run `main(settings)`; what goes wrong is one line on stderr.

    `alone` refuses several processes of torchrun, for a script that shares nothing out.

    Exit codes: 2 what the user can put right, 130 interrupted (Ctrl-C), 141 nobody reads what is printed, 143 ended
    (SIGTERM). After each of them the same command goes on, without --overwrite if it had that.
    """
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files may hold what no encoding has
            stream.reconfigure(errors="backslashreplace")
    again = "the same command continues this run"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_say_if_first(f"ended; {again}", 143)))
    try:
        settings = override(script, argv)
        if settings.overwrite:
            again = "without --overwrite " + again
        distributed.start(alone)
        compute.seed_everything(settings.seed)
        main(settings)
        distributed.stop()
    except InputError as error:
        sys.exit(_say(f"error: {error}", 2))
    except KeyboardInterrupt:
        sys.exit(_say_if_first(f"interrupted; {again}", 130))
    except BrokenPipeError:  # whoever read what is printed has gone; what is still to be printed goes nowhere
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.exit(141)
    except OSError as error:
        if error.errno not in files.WRITING:
            raise
        sys.exit(_say(f"error: {error.filename or 'what is printed, or a file'}: {files.reason(error)}", 2))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        sys.exit(_say("error: this network's BatchNorm cannot train on a lone photo; raise --batch-size", 2))
    except (MemoryError, RuntimeError) as error:
        if compute.is_out_of_memory(error):
            flag = "--batch-size" if "BATCH_SIZE" in script else "--image-size"
            sys.exit(_say(f"error: not enough memory; lower {flag}, or end what else is running", 2))
        if distributed.is_parted(error):
            sys.exit(_say("error: another process of this run has ended; start it again, the same command goes on", 2))
        raise
    finally:
        locks.release_all()


def _say_if_first(text, code):
    """The same, unless another process (reproduce.py, torchrun) started this one and says so itself."""
    started = multiprocessing.parent_process() is not None or "TORCHELASTIC_RUN_ID" in os.environ
    return code if started else _say(text, code)


def _say(text, code):
    print(" ".join(text.splitlines()), file=sys.stderr, flush=True)
    return code
