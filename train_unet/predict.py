"""Make masks of any photos with a trained segmenter: no labels, no lists, no data root.

Run:    python train_unet/predict.py photo.jpg folder/ --out predicted
        python train_unet/predict.py folder/ --run runs/train_on_ensemble/seed0 --fast
Reads:  a segmenter: --checkpoint, that of --run, or the newest below --runs-root that learned without ground truth
Writes: <out>/masks/<name>.png (0 background, 1 subject), <out>/overlays/<name>.jpg, <out>/cutouts/<name>.png; with
        --export <out>/coco/annotations/instances_default.json or <out>/voc (CVAT, torchvision) of all masks
Photos that have a mask in <out> already are passed over. A broken photo is named, and the exit code is then 1.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import InputError, cli, compute, count_of, export, prediction

PHOTOS = ()  # photos, and folders whose photos are looked for in subfolders, too
OUT = "predicted"  # folder to write into
RUN = ""  # run directory of the segmenter
CHECKPOINT = ""  # or its checkpoint file
FAST = False  # one scale, no mirror image, no dense CRF
PICTURES = True  # overlays and cut-outs, too
JSON = False  # print a line of JSON a photo: size, share and box of the subject, certainty
EXPORT = ""  # coco or voc: all masks for other tools as well; folders of photos are their classes
BATCH_SIZE = 16  # photos that the network sees at once


def newest(runs_root):
    """Checkpoint of the newest finished segmenter that learned without ground truth."""
    finished = [path.parent for path in Path(runs_root).rglob("train_on_*/seed*/summary.json")]
    weak = [run for run in finished if not run.parent.name.endswith("_gt") and (run / "checkpoint.pt").exists()]
    if not weak:
        raise InputError(f"no finished segmenter below {runs_root}; give --checkpoint or --run")
    return max(weak, key=lambda run: (run / "summary.json").stat().st_mtime) / "checkpoint.pt"


def main(settings):
    out = Path(OUT).resolve()
    checkpoint = Path(CHECKPOINT or (Path(RUN) / "checkpoint.pt" if RUN else newest(settings.runs_root)))
    photos = prediction.photos_in([Path(name) for name in PHOTOS], out)
    if EXPORT:
        export.check(EXPORT, photos)
    ahead = {name: path for name, path in photos.items() if not (out / "masks" / f"{name}.png").exists()}
    segmenter = prediction.load(checkpoint, fast=FAST, amp=settings.amp)
    before = len(photos) - len(ahead)
    print(f"{count_of(ahead, 'photo')} to do, {before} done before, with {checkpoint}", file=sys.stderr, flush=True)
    done = 0
    written = prediction.write_masks(segmenter, ahead, out, with_pictures=PICTURES, batch_size=BATCH_SIZE)
    for found in compute.progress(written, "masks", total=len(ahead), unit="photo"):
        done += 1
        if JSON:
            print(json.dumps(found, ensure_ascii=False), flush=True)
    print(f"{done} masks: {out / 'masks'}", file=sys.stderr, flush=True)
    if EXPORT:
        print(f"export: {export.write(EXPORT, out, export.of_predictions(photos, out / 'masks'))}", file=sys.stderr)
    sys.exit(1 if done < len(ahead) else 0)


if __name__ == "__main__":
    cli.run(main, globals())
