"""Write a trained segmenter for programs without this project: ONNX, torch.export, and how to use them.

Run:    python train_unet/export_segmenter.py --run runs/train_on_ensemble/seed0 --out exported
Reads:  the checkpoint of --run
Writes: <out>/segmenter.onnx, segmenter.pt2 (torch.export), segmenter.json: what to do before and after the network, and
        example.py, which needs onnxruntime, numpy and Pillow alone: python exported/example.py photo.jpg mask.png
The masks are those of predict.py --fast up to 1024 pixels a side; segmenter.json names what that leaves out.
"""

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import InputError, cli, portable

RUN = ""  # run directory of the segmenter
OUT = "exported"  # folder to write into


def main(settings):  # noqa: ARG001 - every script's main has it
    if not RUN:
        raise InputError("--run wants the run directory of a segmenter, such as runs/train_on_ensemble/seed0")
    out = Path(OUT).resolve()
    portable.write(Path(RUN) / "checkpoint.pt", out)
    print(f"try: {shlex.join(['python', str(out / 'example.py'), 'PHOTO', 'MASK.png'])}")


if __name__ == "__main__":
    cli.run(main, globals(), alone=True)
