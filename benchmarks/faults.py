"""Kill the chain at random moments, and break what it needs: does the same command go on, and is anything lost?

Run:    python benchmarks/faults.py
Prints: counts: kills, files compared and files that differ, what was left over; then a row a fault with the line that
        it gave. The exit code is 1 if anything differs or stays

The chain and the kills are in kills.py. Faults of disks need Linux and root, for small disks in memory; without them
they are named as skipped.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from benchmarks import kills
from benchmarks.kills import run
from src import cli
from src.drawings import sample
from src.report import tables

KILLS = 100  # of the whole chain, with kill -9
SIGNALS = 6  # and with SIGTERM and Ctrl-C
FAULTS = True  # also the faults
TINY = kills.TINY


class Disk:
    """A small disk in memory. Where the system does not allow one, `there` is False."""

    def __init__(self, path, size):
        self.path = path
        path.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        self.there = shutil.which("mount") is not None and subprocess.run(words, capture_output=True).returncode == 0

    def change(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)

    def remove(self):
        if self.there:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
        self.path.rmdir()


CCAM = ["train_ccam/train_ccam.py", "--epochs", "2"]
MASKS = ["train_ccam/ensemble_masks.py", "--scales", "1.0"]
SEGMENTER = ["train_unet/train_on_ensemble.py", "--epochs", "2"]
SCORES = ["train_ccam/evaluate_ccam.py", "--scales", "1.0"]


def flipped(path):
    """Turn one byte in the middle of a file."""
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 255
    path.write_bytes(text)


def damaged(pattern, damage):
    """A fault: damage the first file that fits; what mends it is to take it back."""

    def spoil(data, root):
        path = sorted((data if pattern.startswith("oxford") else root).glob(pattern))[0]
        before = path.read_bytes()
        damage(path)
        return lambda: path.write_bytes(before)

    return spoil


def faults():
    """(name, stages that are whole before, the command, what breaks it, whether it mends itself)."""
    cut, gone = (lambda p: p.write_bytes(p.read_bytes()[:-20])), (lambda p: p.unlink())
    upstream, mask = "train_ccam_pretrained/seed0/", "ensemble_masks/seed0/masks_crf/cat_breed01_1.png"
    return [
        ("one byte of the cache", [CCAM], MASKS, damaged("cache/*.pixels", flipped), True),
        ("a cut cache", [CCAM], MASKS, damaged("cache/*.pixels", cut), True),
        ("the cache's list", [CCAM], MASKS, damaged("cache/*.json", cut), True),
        ("one byte of a checkpoint", [CCAM], MASKS, damaged(upstream + "checkpoint.pt", flipped), False),
        ("a cut checkpoint", [CCAM], MASKS, damaged(upstream + "checkpoint.pt", cut), False),
        ("no checkpoint", [CCAM], MASKS, damaged(upstream + "checkpoint.pt", gone), False),
        ("config.json upstream", [CCAM], MASKS, damaged(upstream + "config.json", cut), False),
        ("no summary.json upstream", [CCAM], MASKS, damaged(upstream + "summary.json", gone), False),
        ("one byte of a mask", [CCAM, MASKS], SEGMENTER, damaged(mask, flipped), False),
        ("a mask is gone", [CCAM, MASKS], SEGMENTER, damaged(mask, gone), False),
        ("a photo is gone", [CCAM], MASKS, damaged("oxford-iiit-pet/images/*", gone), False),
        ("another photo in its place", [CCAM], MASKS, damaged(
            "oxford-iiit-pet/images/*", lambda p: shutil.copy(sorted(p.parent.iterdir())[-1], p)), False),
        ("a trimap is gone", [CCAM], SCORES, damaged("oxford-iiit-pet/annotations/trimaps/*", gone), False),
    ]  # fmt: skip


def with_fault(drawn, folder, number, fault):
    """A row of the table: a fault, the line that it gave, and whether the same command goes on afterwards."""
    name, before, words, spoil, mends = fault
    data, root = folder / f"data{number}", folder / f"fault{number}"
    shutil.copytree(drawn, data)
    flags = ["--data-root", data, "--runs-root", root, *TINY]
    for stage in before:
        code, lines = run([*stage, *flags], root)
        if code:
            raise SystemExit(f"{stage[0]}: {lines}")
    mend = spoil(data, root)
    code, lines = run([*words, *flags], root)
    answer = answer_of(lines, data, root)
    if mends:
        return [name, "mends itself", code], code != 0
    mend()
    after, _ = run([*words, *flags], root)
    return [name, answer, f"{code}, then {after}"], code == 0 or len(lines) != 1 or after != 0


def answer_of(lines, *paths):
    text = lines[-1] if lines else ""
    for path in paths:
        text = text.replace(str(path), "...")
    return re.sub(r"python \S+( --\S+( [^-]\S*)?)*", "COMMAND", text)[:150].replace("|", "/")


def on_a_full_disk(drawn, folder):
    """Rows of the table: the chain's first stages on disks of many sizes, each enlarged when it was full."""
    rows, bad, answers = [], 0, {}
    for kilobytes in (0, 16, 64, 128, 192, 256, 320, 512, 1024, 4096, 16384, 46000, 48000, 60000):
        disk = Disk(folder / f"disk{kilobytes}", f"{kilobytes or 4}k")
        if not disk.there:
            disk.remove()
            return [["a full disk", "skipped: no disk in memory can be mounted here", ""]], False
        try:
            flags = ["--data-root", drawn, "--runs-root", disk.path / "runs", *TINY]
            for words in (CCAM, MASKS, SEGMENTER):
                code, lines = run([*words, *flags], disk.path)
                if code:
                    answers[answer_of(lines, disk.path)] = code
                    bad += code != 2 or len(lines) != 1
                    disk.change("size=2g")
                    bad += run([*words, *flags], disk.path)[0] != 0
                    bad += bool(kills.left_over(disk.path))
        finally:
            disk.remove()
    rows += [["a full disk", answer, f"{code}, then 0"] for answer, code in answers.items()]
    return rows, bool(bad)


def on_a_read_only_disk(drawn, folder):
    disk = Disk(folder / "read_only", "200m")
    try:
        if not disk.there:
            return ["a read-only disk", "skipped: no disk in memory can be mounted here", ""], False
        disk.change("ro")
        flags = ["--data-root", drawn, "--runs-root", disk.path / "runs", *TINY]
        code, lines = run([*CCAM, *flags], disk.path)
        disk.change("rw")
        after, _ = run([*CCAM, *flags], disk.path)
        row = ["a read-only disk", answer_of(lines, disk.path), f"{code}, then {after}"]
        return row, code != 2 or len(lines) != 1 or after != 0
    finally:
        disk.remove()


def twice_at_once(drawn, folder):
    """Of two processes on one run directory the second is refused, and the first is not disturbed."""
    root = folder / "twice"
    words = [*CCAM[:1], "--epochs", "3000", "--data-root", drawn, "--runs-root", root, *TINY]
    first = kills.start(words, root)
    while first.poll() is None and not (root / "train_ccam_pretrained" / "seed0" / "metrics.csv").exists():
        time.sleep(0.1)
    code, lines = run(words, root)
    alive = first.poll() is None
    first.kill()
    first.communicate()
    process = kills.start(words, root)  # a dead one's lock does not hold
    time.sleep(8)
    goes_on = process.poll() is None
    process.kill()
    process.communicate()
    row = ["two at once", answer_of(lines, root), f"{code}, then {'goes on' if goes_on else process.returncode}"]
    return row, not (code == 2 and len(lines) == 1 and alive and goes_on)


def without_memory(drawn, folder):
    """A batch that does not fit: 6 GB of address space for a step of all 12 photos at 2048 px."""
    root = folder / "memory"
    words = ["train_classifier/train_classifier_37_class.py", "--data-root", drawn, "--runs-root", root, *TINY[:4],
             "--image-size", "2048", "--batch-size", "64", "--epochs", "1", "--no-amp"]  # fmt: skip
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30,) * 2);"
    limited = [
        sys.executable,
        "-c",
        f"{limit} sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
    ]
    done = subprocess.run(
        [*limited, str(cli.ROOT / words[0]), *map(str, words[1:])], capture_output=True, text=True, check=False
    )
    lines = done.stderr.splitlines()
    return ["too large a batch", answer_of(lines, root), done.returncode], done.returncode != 2 or len(lines) != 1


def show(row):
    """Print a row of a table as soon as it is known: the whole takes long."""
    print(f"| {' | '.join(map(str, row))} |", flush=True)


def main(_):
    # A background job of a shell ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn, bad = folder / "drawn", []
        sample.draw(drawn, breeds=4, trainval=3, test=2, background=4)
        if KILLS or SIGNALS:
            kills.unbroken(drawn, folder / "reference")
            print(
                tables.markdown(["signal", "times", "exit codes", "files", "differ", "left over", "orphans"], []),
                end="",
            )
        for kind, number in ((signal.SIGKILL, KILLS), (signal.SIGTERM, SIGNALS), (signal.SIGINT, SIGNALS)):
            if number:
                row, wrong = kills.kill(drawn, folder, number, kind, folder / "reference")
                show(row)
                bad.append(wrong)
        if FAULTS:
            print("\n" + tables.markdown(["what is broken", "the one line", "exit code"], []), end="")
            for number, fault in enumerate(faults()):
                row, wrong = with_fault(drawn, folder, number, fault)
                show(row)
                bad.append(wrong)
            for broken in (on_a_read_only_disk, twice_at_once, without_memory):
                row, wrong = broken(drawn, folder)
                show(row)
                bad.append(wrong)
            rows, wrong = on_a_full_disk(drawn, folder)
            for row in rows:
                show(row)
            bad.append(wrong)
    sys.exit(1 if any(bad) else 0)


if __name__ == "__main__":
    cli.run(main, globals())
