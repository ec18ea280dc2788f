"""Time each kind of work our way and the plain way, side by side in one process, on made-up photos.

Run:    python benchmarks/run.py [--work ccam_train ecs_cam] [--json rates.json]
Prints: a row a kind of work (benchmarks/work.py): rates a second (photos, maps, trainings), their ratio, the share of
        the measured matrix rate that the network's arithmetic reaches, and the peak memory of a process that works
        our way

The plain way is what one writes first: fp32 in the default layout, one photo, class or training at a time.
"""

import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import work
from src import check_choice, cli, compute, files

WORK = ("all",)  # which kinds of work: names as in the table
NETWORK = "resnet50"  # backbone of the network rows; its weights are random
SIDE = 224  # pixels a side
BATCH = 16  # photos a step
SECONDS = 6.0  # of each measurement, after one round to warm up
JSON = ""  # file for the rows; empty: none


def rate(step, count, seconds):
    """Items a second of a step that does `count` of them; the median of its repeats."""
    step()
    spent, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(spent) < 2:
        _synchronise()
        before = time.perf_counter()
        step()
        _synchronise()
        spent.append(time.perf_counter() - before)
    return count / float(np.median(spent))


def _synchronise():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rate(seconds):
    """FLOP a second of a large matrix product in the type that autocast uses here."""
    kind = torch.bfloat16 if compute.fast_bf16() else torch.float32
    side = 8192 if torch.cuda.is_available() else 2048
    a, b = (torch.randn(side, side, device=compute.device(), dtype=kind) for _ in range(2))
    return rate(lambda: a @ b, 1, seconds) * 2 * side**3


def flops(step):
    """Floating-point operations of a step's products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def measure(name, seconds, constants):
    """One row, in a process of its own so that the peak is its own: our way first, then the plain way."""
    vars(work).update(constants)
    way = work.ROWS[name]()
    step, count = way(plain=False)
    ours = rate(step, count, seconds)
    peak = compute.peak_memory() or 0
    of_limit = flops(step) / count * ours / matrix_rate(seconds / 3) if name in work.COUNTED else None
    step, count = way(plain=True)
    plain = rate(step, count, seconds)
    return {"work": name, "plain": plain, "ours": ours, "ratio": ours / plain, "of_limit": of_limit,
            "peak_mb": round(peak / 2**20)}  # fmt: skip


def main(_):
    for name in WORK:
        check_choice("work", name, ("all", *work.ROWS))
    chosen = [name for name in work.ROWS if name in WORK or "all" in WORK]
    where = f"{compute.device_name()}, {torch.get_num_threads()} threads"
    precision, limit = "bf16" if compute.fast_bf16() else "fp32", matrix_rate(SECONDS / 3) / 1e12
    print(f"{where}, {precision} products {limit:.2f} TFLOP/s, {NETWORK}, {SIDE} px, batch {BATCH}; rates a second")
    print("| work | ratio | ours | plain | of the matrix rate | peak MB |\n| --- | --- | --- | --- | --- | --- |")
    rows, constants = [], {"NETWORK": NETWORK, "SIDE": SIDE, "BATCH": BATCH}
    for name in chosen:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measure, (name, SECONDS, constants))
        share = "" if row["of_limit"] is None else f"{100 * row['of_limit']:.0f} %"
        print(f"| {name} | {row['ratio']:.1f} | {row['ours']:.3g} | {row['plain']:.3g} | {share} | {row['peak_mb']} |",
              flush=True)  # fmt: skip
        rows.append(row)
    if JSON:
        files.write_json(JSON, rows)


if __name__ == "__main__":
    cli.run(main, globals())
