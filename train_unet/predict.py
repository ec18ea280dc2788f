"""Make masks of any photos with a trained segmenter: no labels, no lists, no data root.

Run:    python train_unet/predict.py photo.jpg folder/ --out predicted
        python train_unet/predict.py folder/ --run runs/train_on_ensemble/seed0 --fast
Reads:  a segmenter: --checkpoint, that of --run, or the newest below --runs-root that learned without ground truth
Writes: <out>/masks/<name>.png (0 background, 1 subject), <out>/overlays/<name>.jpg, <out>/cutouts/<name>.png; with
        --export <out>/coco/annotations/instances_default.json or <out>/voc (CVAT, torchvision) of all masks; with
        --report <out>/report.html, a page to look through them, and the maps that it shows, <out>/maps
        With --cam CLASS nothing but <out>/cams/<name>.jpg, where the classifier sees that class.
Photos that have a mask in <out> already are passed over. A broken photo is named, and the exit code is then 1.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import InputError, cli, compute, count_of, export, prediction
from src.report import page

PHOTOS = ()  # photos, and folders whose photos are looked for in subfolders, too
OUT = "predicted"  # folder to write into
RUN = ""  # run directory of the segmenter
CHECKPOINT = ""  # or its checkpoint file
CLASSIFIER = ""  # run directory of a classifier; empty: the newest beside the segmenter's run, if there is one
CAM = ""  # in place of masks: heat maps of this class
FAST = False  # one scale, no mirror image, no dense CRF
PICTURES = True  # overlays and cut-outs, too
JSON = False  # print a line of JSON a photo: size, share and box of the subject, certainty; class and score, if known
EXPORT = ""  # coco or voc: all masks for other tools as well; folders of photos are their classes
REPORT = False  # one page to look through the masks, the least certain first
BATCH_SIZE = 16  # photos that the network sees at once


def newest(folder, pattern):
    """Checkpoint of the newest finished run whose directory fits a pattern, bounds left out; None without any."""
    finished = [path.parent for path in Path(folder).glob(f"{pattern}/summary.json")]
    weak = [run for run in finished if not run.parent.name.endswith("_gt") and (run / "checkpoint.pt").exists()]
    return max(weak, key=lambda run: (run / "summary.json").stat().st_mtime) / "checkpoint.pt" if weak else None


def segmenter_of(settings):
    """Checkpoint of the segmenter to use."""
    found = Path(CHECKPOINT or Path(RUN) / "checkpoint.pt") if CHECKPOINT or RUN else None
    found = found or newest(settings.runs_root, "**/train_on_*/seed*")
    if found is None:
        raise InputError(f"no finished segmenter below {settings.runs_root}; give --checkpoint or --run")
    return found


def recogniser_of(settings, folder, pattern):
    """The classifier of --classifier, or the newest whose run directory fits; None without any."""
    found = Path(CLASSIFIER) / "checkpoint.pt" if CLASSIFIER else newest(folder, pattern)
    return found and prediction.Recogniser(found, amp=settings.amp)


def main(settings):
    out = Path(OUT).resolve()
    photos = prediction.photos_in([Path(name) for name in PHOTOS], out)
    if EXPORT:
        export.check(EXPORT, photos)
    folder, suffix = ("cams", ".jpg") if CAM else ("masks", ".png")
    ahead = {name: path for name, path in photos.items() if not (out / folder / f"{name}{suffix}").exists()}
    if CAM:
        checkpoint, recogniser = None, recogniser_of(settings, settings.runs_root, "**/train_classifier_*/seed*")
        if recogniser is None:
            raise InputError(f"--cam wants a classifier, and none is below {settings.runs_root}; give --classifier")
        written = prediction.write_heat(recogniser, CAM, ahead, out, batch_size=BATCH_SIZE)
    else:
        checkpoint = segmenter_of(settings)
        segmenter = prediction.load(checkpoint, fast=FAST, amp=settings.amp)
        beside = checkpoint.absolute().parent.parent.parent
        recogniser = recogniser_of(settings, beside, "train_classifier_*/seed*") if JSON else None
        how = {"with_pictures": PICTURES, "with_maps": REPORT, "batch_size": BATCH_SIZE}
        written = prediction.write_masks(segmenter, ahead, out, recogniser=recogniser, **how)
    before, by = len(photos) - len(ahead), checkpoint or "a classifier"
    print(f"{count_of(ahead, 'photo')} to do, {before} done before, with {by}", file=sys.stderr, flush=True)
    done = 0
    for found in compute.progress(written, folder, total=len(ahead), unit="photo"):
        done += 1
        if JSON:
            print(json.dumps(found, ensure_ascii=False), flush=True)
    print(f"{done} {folder}: {out / folder}", file=sys.stderr, flush=True)
    if EXPORT and not CAM:
        print(f"export: {export.write(EXPORT, out, export.of_predictions(photos, out / 'masks'))}", file=sys.stderr)
    if REPORT and not CAM:
        print(f"report: {page.write_of_files(photos, out, f'Masks of {checkpoint}.')}", file=sys.stderr, flush=True)
    sys.exit(1 if done < len(ahead) else 0)


if __name__ == "__main__":
    cli.run(main, globals())
