"""The mask of a photo of 8 bits, 0 and 255, without PyTorch: python example.py photo.jpg mask.png"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

about = json.loads(Path(__file__).with_name("segmenter.json").read_text())
session = onnxruntime.InferenceSession(Path(__file__).with_name("segmenter.onnx"), providers=["CPUExecutionProvider"])
photo = ImageOps.exif_transpose(Image.open(sys.argv[1]))
assert photo.mode[0] not in "IF", "greys of more than 8 bits, which Pillow would cut off at 255: scale them first"
small = photo.convert("RGB").resize(about["input"]["shape"][:1:-1], Image.Resampling.BILINEAR)
values = (np.array(small) / 255 - about["input"]["mean"]) / about["input"]["std"]
(probability,) = session.run(["probability"], {"photos": values.astype(np.float32).transpose(2, 0, 1)[None]})
sure = probability[probability > about["mask"]["threshold"]]
probability *= sure.size > 0 and sure.mean() >= about["mask"]["empty_below"]  # else there is no subject
full = np.array(Image.fromarray(probability[0]).resize(photo.size, Image.Resampling.BILINEAR))
mask, grow = full > about["mask"]["threshold"], round(about["mask"]["growth"] * max(photo.size))
for _ in range(2):  # grow along one axis, then along the other
    padded = np.pad(mask, [(grow, grow), (0, 0)])
    mask = np.lib.stride_tricks.sliding_window_view(padded, 2 * grow + 1, 0).any(-1).T
Image.fromarray(255 * mask.astype(np.uint8)).save(sys.argv[2])
