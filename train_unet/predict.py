"""Make masks of any photos with a trained segmenter: no labels, no lists, no data root.

Run:    python train_unet/predict.py photo.jpg folder/ --out predicted
Reads:  a segmenter: --checkpoint, that of --run, or the newest below --runs-root that learned without ground truth
Writes: <out>/masks/<name>.png (0 background, 1 subject), overlays/<name>.jpg and cutouts/<name>.png; with --report
        report.html and the maps/ that it shows; with --export coco/ or voc/; with --cam CLASS cams/<class>/ alone
Photos that have all this in <out> already are passed over. A broken photo is named, and the exit code is then 1.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

from src import InputError, cli, compute, count_of, export, files, manifest, predicted, prediction
from src.report import page

PHOTOS = ()  # photos, and folders whose photos are looked for in subfolders, too
OUT = "predicted"  # folder to write into
RUN = ""  # run directory of the segmenter
CHECKPOINT = ""  # or its checkpoint file
CLASSIFIER = ""  # run directory of a classifier; empty: the newest beside the segmenter's run, if there is one
CAM = ""  # in place of masks: heat maps of this class
FAST = False  # one scale, no mirror image, no dense CRF
EMPTY_BELOW = 0.8  # a mask whose pixels are on average less likely than this is left empty: no subject there; 0: never
PICTURES = True  # overlays and cut-outs, too
JSON = False  # print a line of JSON for each photo done now: size, area, box, certainty; class and score, if known
EXPORT = ""  # coco or voc: all masks for other tools as well; folders of photos are their classes
REPORT = False  # one page to look through the masks, the least certain first


def main(settings):
    out, root, done = files.resolved(OUT), Path(settings.runs_root), 0
    if CAM and (EXPORT or REPORT):
        raise InputError("--cam makes heat maps alone; leave out --export and --report")
    photos = predicted.photos_in([Path(name) for name in PHOTOS], out)
    export.check(EXPORT, photos)
    folder, how = f"cams/{CAM}" if CAM else "masks", {"with_pictures": PICTURES, "with_maps": REPORT}
    if CAM:
        checkpoint = prediction.find_classifier(root, CLASSIFIER, RUN, CHECKPOINT)
        recogniser = prediction.Recogniser(checkpoint, settings.amp, knows=CAM)
        ahead = manifest.note(out, folder, photos, checkpoint, {}, anew=settings.overwrite)
        written = predicted.write_heat(recogniser, CAM, ahead, out)
    else:
        checkpoint = prediction.find_segmenter(root, RUN, CHECKPOINT)
        segmenter = prediction.load(checkpoint, FAST, settings.amp, EMPTY_BELOW)
        recogniser = prediction.beside(checkpoint, CLASSIFIER, settings.amp) if JSON else None
        ahead = manifest.note(out, folder, photos, checkpoint, segmenter.flags, **how, anew=settings.overwrite)
        written = predicted.write_masks(segmenter, ahead, out, recogniser, **how)
    print(f"{count_of(ahead, 'photo')} to do, {len(photos) - len(ahead)} done before, by {checkpoint}", file=sys.stderr)
    for done, found in enumerate(compute.progress(written, folder, total=len(ahead), unit="photo"), 1):  # noqa: B007
        if JSON:
            print(json.dumps(found), flush=True)
    manifest.say_done(out, folder, done)
    shown = predicted.can_be_shown(photos, out) if EXPORT or REPORT else photos
    if EXPORT and (items := export.of_predictions(shown, out / "masks")):
        print(f"export: {export.write(EXPORT, out, items)}", file=sys.stderr)
    if REPORT:
        print(f"report: {page.write_of_files(shown, out, f'Masks of {checkpoint}.')}", file=sys.stderr)
    sys.exit(1 if done < len(ahead) or len(shown) < len(photos) else 0)


if __name__ == "__main__":
    cli.run(main, globals(), alone=True)
