"""What is the same byte for byte, and how far apart is the rest? A short chain, run again and run otherwise.

Run:    python benchmarks/determinism.py
Prints: a row a change: whether checkpoints and masks are those of the first run, the largest difference of a number
        in a checkpoint beside its largest, and how many pixels of the masks differ
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np

from src import checkpoints, cli, compute
from src.drawings import sample
from src.postprocessing import masks
from src.report import tables

BREEDS = 6  # of the drawn photos, 4 to learn from and 2 to test
TINY = ("--backbone", "resnet18", "--weights", "random", "--image-size", "64")
STAGES = (
    ("train_classifier/train_classifier_37_class.py", "--epochs", "3"),
    ("train_ccam/train_ccam.py", "--init", "37_class", "--epochs", "5"),
    ("train_ccam/train_ccam.py", "--epochs", "5"),
    ("train_ccam/ensemble_masks.py", "--scales", "1.0"),
    ("train_unet/train_on_ensemble.py", "--epochs", "3"),
)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
CHANGES = {  # name -> (flags, environment, words before the script)
    "again": (("--no-amp",), {}, ()),
    "two threads in place of one": (("--no-amp",), {"OMP_NUM_THREADS": "2"}, ()),
    "AVX2 in place of all instructions": (("--no-amp",), AVX2, ()),
    "two processes (torchrun) in place of one": (("--no-amp",), {}, TORCHRUN),
    "bf16 in place of fp32": ((), {}, ()),
    "bf16, again": ((), {}, ()),
    "another seed": (("--no-amp", "--seed", "1"), {}, ()),
}


def chain(drawn, root, flags, env, words):
    """Run the stages; returns the run directories' parent."""
    for path, *own in STAGES:
        command = [
            sys.executable,
            *words,
            cli.ROOT / path,
            *own,
            *TINY,
            *flags,
            "--data-root",
            drawn,
            "--runs-root",
            root,
        ]
        env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
        done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{path}: {done.stderr}")
    return root


def beside(one, two):
    """How many files are the same, of how many, the largest gap in a checkpoint, the share of pixels that differ."""
    same, count, farthest, pixels, differ = 0, 0, 0.0, 0, 0
    for path in sorted(p for pattern in ("checkpoint.pt", "*.png") for p in one.glob(f"*/seed*/**/{pattern}")):
        other = next(two.glob(f"{path.relative_to(one).parts[0]}/seed*")) / Path(*path.relative_to(one).parts[2:])
        if path.suffix == ".png" and not path.parent.name.startswith("masks"):
            continue
        same, count = same + (path.read_bytes() == other.read_bytes()), count + 1
        if path.suffix == ".pt":
            states = [checkpoints.read(p)["state"] for p in (path, other)]
            largest = max(float(v.abs().max()) for v in states[0].values())
            gaps = [float((states[1][k].double() - v.double()).abs().max()) for k, v in states[0].items()]
            farthest = max(farthest, max(gaps) / largest)
        else:
            labels = [masks.read(p) for p in (path, other)]
            pixels, differ = pixels + labels[0].size, differ + int(np.sum(labels[0] != labels[1]))
    return same, count, farthest, differ / pixels


def main(_):
    print(f"{compute.device_name()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample.draw(folder / "drawn", breeds=BREEDS, background=2)
        first = {"fp32": chain(folder / "drawn", folder / "first", ("--no-amp",), {}, ())}
        rows = []
        for number, (text, (flags, env, words)) in enumerate(CHANGES.items()):
            root = chain(folder / "drawn", folder / f"change{number}", flags, env, words)
            compared = first["bf16" if text.startswith("bf16, ") else "fp32"]
            same, count, farthest, differ = beside(compared, root)
            rows.append([text, f"{same} of {count}", f"{farthest:.1e}", f"{100 * differ:.2f} %"])
            if text.startswith("bf16 in"):
                first["bf16"] = root
        print(tables.markdown(["changed", "files of the same bytes", "weights", "pixels of masks"], rows))


if __name__ == "__main__":
    cli.run(main, globals())
