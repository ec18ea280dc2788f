"""The two dense CRFs side by side: seconds a photo on one core and on all, and how far their results lie apart.

Run:    python benchmarks/compare_crf.py --data-root PHOTOS
Reads:  photos of trainval at their own size; the maps to refine are smooth noise
Prints: a row a backend, and the distance between their marginals and masks; the rows are timed in turn, in one process
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np

from src import cli, compute, data
from src.data.decoding import decode
from src.drawings import painter
from src.postprocessing import crf
from src.report import tables

PHOTOS = 16  # photos, spread over trainval
REPEATS = 3  # of each timing; the median is printed
BILATERAL_SRGB = 10.0  # grey levels: colour distance over which neighbours still pull at each other
BILATERAL_COMPAT = 4.0  # weight of that pull


def main(settings):
    photos = data.load(settings, pixels=False)
    index = photos.trainval[:: max(1, len(photos.trainval) // PHOTOS)][:PHOTOS]
    images = [decode(photos.paths[i]) for i in index]
    rng = np.random.default_rng(settings.seed)
    rough = [painter.noise(rng, *image.shape[:2], cells=6).astype(np.float32) for image in images]
    items = list(zip(images, rough, strict=True))
    seconds, found = {}, {}
    for _ in range(REPEATS):
        for backend in crf.BACKENDS:
            constants = crf.DenseCRF(bilateral_srgb=BILATERAL_SRGB, bilateral_compat=BILATERAL_COMPAT, backend=backend)
            one = lambda item, constants=constants: crf.refine([item[0]], [item[1]], constants)[0]  # noqa: E731
            for count in (1, None):
                start = time.perf_counter()
                with compute.threads(count) as pool:
                    found[backend] = list(pool.map(one, items))
                seconds.setdefault((backend, count), []).append(time.perf_counter() - start)
    size = f"{np.mean([prob.size for prob in rough]) / 1000:.0f} thousand pixels a photo"
    print(f"{compute.device_name()}, {len(images)} photos, {size}\n")
    rows = [
        [backend, *(f"{np.median(seconds[backend, count]) / len(images):.3f}" for count in (1, None))]
        for backend in crf.BACKENDS
    ]
    print(tables.markdown(["backend", "s a photo, one core", "s a photo, all cores"], rows))
    one, other = (np.concatenate([prob.ravel() for prob in found[backend]]) for backend in crf.BACKENDS)
    print(f"marginals apart: mean {np.abs(one - other).mean():.1e}, most {np.abs(one - other).max():.1e}")
    print(f"pixels whose label differs: {100 * ((one > 0.5) != (other > 0.5)).mean():.4f} %")


if __name__ == "__main__":
    cli.run(main, globals())
