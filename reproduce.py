"""Run every stage in order, then print Tables 1 to 3 beside the published numbers, Table 4, and draw the sheet.

Run:    python reproduce.py                                    (Oxford-IIIT Pet and ImageNet ResNet-50, on a GPU)
        python reproduce.py --data-root PHOTOS --backbone mobilenet_v2 --weights FILE
        make demo                                              (the drawn sample)
Reads:  what the stages read; a finished stage is not run again, an interrupted one goes on
Writes: the stages' run directories, <runs-root>/tables_seed0.md and <runs-root>/sheet_seed0.png
"""

import multiprocessing
import re
import runpy
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # lets src be imported from any directory

from src import cli, data, runs, tables

SHORT = False  # fewer passes and one scale: the drawn sample in minutes on two cores
ENSEMBLE_ONLY = False  # only the stages that Table 4 needs, for more seeds
ABLATIONS = False  # also the stages that change one thing of Table 4

INITS = ("pretrained", "cat_dog", "37_class", "cat_dog_bg", "37_bg")
SPECIFIC = ("cat_dog", "specific_37_class")
UNETS = ("train_on_37CCAM", "train_on_37CCAM_CRF", "train_on_gt")
ONE_SCALE = ["--scales", "1.0"]


def stages(settings, trimaps):
    """Every stage in order: (script, variant that names its run, further flags, flags that --short adds)."""
    if settings.weights == "drawings":
        yield "train_classifier/pretrain_on_drawings.py", {}, [], []
    for init in INITS[1:]:
        yield f"train_classifier/train_classifier_{init}.py", {}, [], ["--frozen-stages", "4"]
    for init in INITS:
        yield "train_classifier/evaluate_cam.py", {"init": init}, [], ONE_SCALE
    for method in ("ccam", "ccam_ecs"):
        for init in INITS:
            refine = ["--refine"] if (method, init) == ("ccam", "pretrained") else []  # a cell of Table 3
            passes = "60" if method == "ccam" else "6"  # the drawn sample has few photos a pass
            yield f"train_ccam/train_{method}.py", {"init": init}, [], ["--epochs", passes]
            yield "train_ccam/evaluate_ccam.py", {"method": method, "init": init}, refine, ONE_SCALE
    for model in SPECIFIC:
        yield f"train_class_specific_ccam/train_ccam_on_{model}.py", {}, [], []
        yield "train_class_specific_ccam/generate_masks.py", {"model": model}, [], ONE_SCALE
    for model in UNETS if trimaps else UNETS[:-1]:
        yield f"train_unet/{model}.py", {}, [], ["--size", "64", "--epochs", "10"]
        yield "train_unet/evaluate_unet.py", {"model": model}, [], []
    alone = ["--members", "ccam pretrained"]  # on the drawn sample the other members' networks know too little
    yield tables.ENSEMBLE, {}, [], ONE_SCALE + alone
    fewer = ["--size", "64", "--epochs", "6", *ONE_SCALE]
    yield tables.SEGMENTER, {}, [], fewer
    if trimaps:
        yield tables.BOUND, {}, [], fewer
    for _, _, script, name, *flags in tables.ABLATIONS if ABLATIONS else ():
        yield script, {"name": name}, flags, ONE_SCALE if script == tables.ENSEMBLE else fewer


def needed(script, variant):
    """Whether Table 4 needs a stage."""
    if script in (tables.ENSEMBLE, tables.SEGMENTER, tables.BOUND) or "drawings" in script:
        return True
    made = re.search("classifier_(cat_dog_bg|37_bg)|train_ccam.py|train_ccam_on", script)
    if script == tables.CCAM:
        return variant == {"method": "ccam", "init": "pretrained"}
    return bool(made) and variant.get("init") not in ("cat_dog", "37_class")


def run_stage(argv):
    """In a process of its own: what `python <script> <flags>` does, without importing torch anew."""
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


def main(settings):
    photos = data.load(settings)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["src.training"])  # which imports torch, once for all stages
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chain = [s for s in stages(settings, photos.has_trimaps()) if needed(*s[:2]) or not ENSEMBLE_ONLY]
    start = time.time()
    for number, (script, variant, flags, short) in enumerate(chain, 1):
        path = runs.directory(settings, script, **variant)
        print(f"\n[{number}/{len(chain)}] {path.parent.name}, {(time.time() - start) / 60:.1f} min so far", flush=True)
        if runs.finished(path) and not settings.overwrite:
            runs.must_agree(settings, path, ("data_root", "backbone", "weights", "image_size"))
            print(f"already finished: {path}", flush=True)
            continue
        words = runs.arguments(settings, **variant) + flags + (short if SHORT else [])
        words += ["--overwrite"] if settings.overwrite else []
        stage = processes.Process(target=run_stage, args=([str(cli.ROOT / script), *words],))
        stage.start()
        try:
            stage.join()
        finally:  # nobody else would end it, and the same command would start a second one beside it
            stage.terminate()
        if stage.exitcode:
            print(f"stopped in {script}; the same command goes on from there", file=sys.stderr)
            sys.exit(abs(stage.exitcode))
    paths = [runs.directory(settings, script, **variant) for script, variant, _, _ in chain]
    text = tables.table4(settings) + "\n" + tables.costs(photos, paths)
    if not ENSEMBLE_ONLY:
        text = tables.render(settings, photos) + "\n" + text
    report = Path(settings.runs_root) / f"tables_seed{settings.seed}.md"
    report.write_text(text, encoding="utf-8")
    print(f"\n{text}\n{(time.time() - start) / 60:.1f} min\ntables: {report}", flush=True)
    if not ENSEMBLE_ONLY:
        sheet = report.with_name(f"sheet_seed{settings.seed}.png")
        tables.draw_sheet(settings, photos, sheet)
        print(f"pictures: {sheet}", flush=True)


if __name__ == "__main__":
    cli.run(main, globals())
