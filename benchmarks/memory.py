"""Show that memory does not grow with the number of photos: stages on 1, 4 and 16 copies of a data root.

Run:    python benchmarks/memory.py --data-root data/sample --backbone resnet18 --weights random
Prints: a row a stage: peak of the memory that a process cannot give back (RssAnon of Linux), in MB, for each number of
        copies, and the seconds that the largest took

Pages of the memory-mapped caches come on top where memory is free, and are taken back where it is not.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import cli, data
from src.report import tables

COPIES = (1, 4, 16)  # how many times each photo is there
SIDE = 64  # pixels a side that the networks see
STAGES = (
    "train_classifier/train_classifier_cat_dog_bg.py --epochs 1",
    "train_classifier/evaluate_cam.py --init cat_dog_bg --scales 1.0",
    "train_ccam/train_ccam.py --init pretrained --epochs 1",
    "train_ccam/evaluate_ccam.py --init pretrained --scales 1.0",
    "train_unet/train_on_gt.py --size 64 --epochs 1",
    "train_unet/predict.py {data}/oxford-iiit-pet/images --out {data}/predicted --run {runs}/train_on_gt/seed0 --fast",
)  # in order, with the flags that make them short


def multiply(photos, copies, root):
    """Lay out a data root whose lists name each photo `copies` times, by links to the one file."""
    pets = root / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (pets / folder).mkdir(parents=True)
    (root / "background").symlink_to(photos.root / "background")
    for split in ("trainval", "test"):
        lines = (photos.root / "oxford-iiit-pet" / "annotations" / f"{split}.txt").read_text().splitlines()
        copied = []
        for line in lines:
            name, _, rest = line.partition(" ")
            copied += [f"{name}{k:03} {rest}" for k in range(copies)] if rest and name != "#" else []
        (pets / "annotations" / f"{split}.txt").write_text("\n".join(copied) + "\n")
    for i in (*photos.trainval, *photos.test):
        for k in range(copies):
            name = f"{photos.names[i]}{k:03}"
            (pets / "images" / f"{name}{photos.paths[i].suffix}").symlink_to(photos.paths[i])
            if photos.has_truths():
                (pets / "annotations" / "trimaps" / f"{name}.png").symlink_to(photos.truths[i])


def peak(words):
    """Peak RssAnon in MB, looked at twenty times a second, and the seconds of a command."""
    highest, start = 0, time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")]
            highest = max([highest, *found])
            time.sleep(0.05)
    if process.returncode:
        sys.exit(f"failed: {' '.join(words)}")
    return highest / 1024, time.monotonic() - start


def main(settings):
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        settings.runs_root = Path(folder) / "runs"
        photos = data.load(settings)
        for copies in COPIES:
            root = Path(folder) / f"data{copies}"
            multiply(photos, copies, root)
            runs = Path(folder) / f"runs{copies}"
            shared = ["--data-root", root, "--runs-root", runs, "--image-size", SIDE,
                      "--backbone", settings.backbone, "--weights", settings.weights,
                      "--amp" if settings.amp else "--no-amp"]  # fmt: skip
            columns[copies] = []
            for stage in STAGES:
                script, *flags = stage.format(data=root, runs=runs).split()
                columns[copies].append(peak([sys.executable, str(cli.ROOT / script), *flags, *map(str, shared)]))
                print(f"{copies} x: {stage}, {columns[copies][-1][0]:.0f} MB", file=sys.stderr, flush=True)
    count = len(photos.trainval) + len(photos.test)
    head = ["stage", *(f"{copies * count} photos" for copies in COPIES), "s"]
    rows = []
    for stage, *found in zip(STAGES, *columns.values(), strict=True):
        _, seconds = found[-1]
        rows.append([stage.split()[0], *(f"{megabytes:.0f} MB" for megabytes, _ in found), f"{seconds:.0f}"])
    print(tables.markdown(head, rows))


if __name__ == "__main__":
    cli.run(main, globals())
