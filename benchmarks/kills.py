"""Kill the chain at random moments and compare what it ends with: what faults.py counts.

The chain is that of reproduce.py on 20 drawings, every stage shortened, in fp32 on CPU, then predictions. Linux alone:
who belongs to a command is read in /proc.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from src import cli

MARK = "FAULTS_OF"  # in the environment of every process that a command starts
LONGEST = 12.0  # seconds after which a process is killed at the latest; starting takes about 5
TINY = ("--backbone", "resnet18", "--weights", "random", "--image-size", "48", "--no-amp")
PASSES = ("--passes", "0.1")
SHORT = ("--short", "--jobs", "2", "--ablations")
LEFT_OVER = ("*.part", "*.half", "lock", "*.lock", "scratch*", "resume.pt")


def chain(data, root):
    """The commands of the chain: every experiment with tables and page, a segmenter of three rounds, predictions."""
    segmenter, how = root / "train_on_ensemble" / "seed0", ("--data-root", data, "--runs-root", root, *TINY, *PASSES)
    return [
        ["reproduce.py", *how, *SHORT],
        ["train_unet/train_on_ensemble.py", "--name", "rounds", *how],
        ["train_unet/predict.py", data / "oxford-iiit-pet" / "images", "--out", root / "predicted", "--run", segmenter,
         "--report", "--no-amp"],
    ]  # fmt: skip


def start(words, root, stderr=subprocess.PIPE):
    """Start a script in a process group of its own."""
    env = {**os.environ, MARK: str(root), "OMP_NUM_THREADS": "2"}
    return subprocess.Popen(
        [sys.executable, str(cli.ROOT / words[0]), *map(str, words[1:])], env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=stderr, text=True,
    )  # fmt: skip


def run(words, root):
    """(exit code, lines on stderr) of a script that is left alone."""
    process = start(words, root)
    _, err = process.communicate()
    return process.returncode, [line for line in err.splitlines() if "Warning" not in line and line.strip()]


def family(root):
    """Process numbers of all that the commands on this runs root started and that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={root}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:  # it has ended, or is another user's
            pass
    return found


def interrupted(commands, root, number, kind, dice):
    """Run commands to their end, although one of their processes gets a signal at `number` random moments.

    Returns:
        list of the exit codes of the commands that got one.
    """
    codes, few = [], number // 5
    shares = [number - 2 * few, few, few]  # most of them for the first and longest
    for words, share in zip(commands, shares, strict=True):
        kills = 0
        while True:
            process = start(words, root, subprocess.DEVNULL)
            try:
                process.wait(dice.uniform(1, LONGEST) if kills < share else None)
            except subprocess.TimeoutExpired:
                victim = dice.choice([process.pid, *family(root)]) if kind == signal.SIGKILL else process.pid
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(victim, kind)
                kills += 1
                codes.append(process.wait())
                continue
            if process.returncode:
                raise SystemExit(f"{words[0]} does not go on: exit code {process.returncode}")
            break
    return codes


def content(path):
    """Bytes of a file, times apart; None for a file that is nothing but times and paths."""
    if path.name in ("config.json", "summary.json", "log.txt", "made_of.json") or path.suffix == ".html":
        return None
    if path.name == "metrics.csv":
        lines = [line.split(",") for line in path.read_text().splitlines()]
        return [[v for name, v in zip(lines[0], line, strict=True) if name != "seconds"] for line in lines]
    if path.suffix == ".md":
        return path.read_text().partition("| stage | s |")[0]
    return path.read_bytes()


def differences(one, two):
    """(files compared, names of those that differ or that one of the folders lacks)."""
    names = {
        p.relative_to(root) for root in (one, two) for p in root.rglob("*") if p.is_file() and "cache" not in p.parts
    }
    both = {name for name in names if (one / name).exists() and (two / name).exists()}
    same = {name for name in both if content(one / name) == content(two / name)}
    return len(names), sorted(str(name) for name in names - same)


def left_over(root):
    """Paths of temporary files, locks and resume states that an ended chain should not leave."""
    return [path for pattern in LEFT_OVER for path in root.rglob(pattern)]


def unbroken(data, root):
    """Run the chain without a break."""
    interrupted(chain(data, root), root, 0, signal.SIGKILL, random.Random(0))


def kill(data, folder, number, kind, reference):
    """A row of the table: the chain, interrupted and gone on with until it ended, beside the unbroken one.

    It is begun anew in another folder until `number` signals were sent.
    """
    dice, codes, sums, wrong = random.Random(number), [], [0, 0, 0, 0], []
    name = signal.Signals(kind).name
    expected = {signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}  # the latter before Python has set itself up
    while len(codes) < number:
        root = folder / f"{name}{len(codes)}"
        new = interrupted(chain(data, root), root, number - len(codes), kind, dice)
        codes += new
        time.sleep(1)
        orphans, left = family(root), left_over(root)
        count, differ = differences(reference, root)
        shutil.rmtree(root)  # many chains would fill a disk
        sums = [total + some for total, some in zip(sums, (count, len(differ), len(left), len(orphans)), strict=True)]
        wrong += [code for code in new if kind in expected and code not in (*expected[kind], 0)]
        for text in [*differ, *left, *orphans, *wrong]:
            print(f"  {text}", file=sys.stderr)
        if not new:
            break
    shown = " ".join(map(str, sorted(set(codes))))
    return [name, len(codes), shown, *sums], bool(any(sums[1:]) or wrong)
