"""Run every experiment in order, then print their tables beside the published numbers, and draw the sheet.

With own photos (any layout but Oxford's, or --quick): only what leads to masks and a segmenter.

Run:    python reproduce.py                                    (Oxford-IIIT Pet and ImageNet ResNet-50, on a GPU)
        python reproduce.py --data-root PHOTOS --backbone mobilenet_v2 --weights FILE
        python reproduce.py --data-root my_photos --backbone mobilenet_v2 --quick     (own photos)
Reads:  what the stages read; a finished stage is not run again, an interrupted one goes on
Writes: the stages' run directories, and in the runs root tables_seed0.md, sheet_seed0.png and the page report.html
"""

import itertools
import os
import runpy
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # lets src be imported from any directory

import numpy as np
from tqdm import tqdm

import experiments
from src import InputError, agreement, check_choice, cli, data, expected_time, export, files, runner, runs, scoring
from src.data import download, layouts
from src.data.boxes import SUPERVISIONS
from src.postprocessing import masks
from src.records import config_of, summary_of
from src.report import page, pictures, results, tables

PHOTOS = ""  # list of "name split" lines, such as data/pet_subset.txt: only these photos, in this split
MAX_SIDE = 384  # pixels to which --photos shrinks the longer side of photos and trimaps
SHORT = False  # fewer passes and one scale: the drawn sample in minutes on two cores
ENSEMBLE_ONLY = False  # only the stages that Table 4 needs, for more seeds
ABLATIONS = False  # also the stages that change one thing of Table 4
SUPERVISION = "labels"  # or boxes: own photos' are used, too; for the tables, those derived from trimaps, as Table 5
PASSES = 0.0  # of every training; 0: as many as the number of own photos wants, and 1 for the tables
QUICK = False  # masks and a segmenter from two rounds, without a classifier
LIST = False  # only show the stages with state, score and minutes
TEST_ONLY = False  # stages whose masks nobody reads make and score those of the test photos alone
SHEET = ""  # file of the sheet; empty: <runs-root>/sheet_seed<N>.png, of own photos least_sure.png
ROWS = 6  # photos on it
RESULTS = ""  # folder in which seed<N>.json gathers the summaries of the finished stages
PHOTOS_A_PASS = 400  # own photos for which the scripts' EPOCHS are right; --passes follows their number
LEAST_SURE = 20  # of them to show
EXPORT = ""  # coco or voc: the final masks of own photos for other tools as well, in the runs root
JOBS = 1  # stages at once, each with its share of the cores
VERBOSE = False  # show what each stage prints; it is in its log.txt anyway
OF_A_CHAIN = ["data_root", "backbone", "weights", "image_size", "amp", "passes"]  # settings that all its stages share


def directory(settings, experiment):
    """Its run directory."""
    return runs.directory(settings, experiment.script, **experiment.variant)


def arguments(settings, experiment):
    """The command line of an experiment's script, as sys.argv has it."""
    words = [*runs.arguments(settings, **experiment.variant), *(experiment.short if SHORT else ()), *experiment.flags]
    words += ["--test-only"] if TEST_ONLY and experiment.only_scores else []
    return [str(cli.ROOT / experiment.script), *words]


def constants_of(settings, experiment):
    """The constants of an experiment's script as its command line sets them."""
    path, *flags = arguments(settings, experiment)
    return cli.override(runpy.run_path(path, run_name="constants"), flags).constants


def state_of(settings, experiment):
    """Of its run: missing, unfinished, finished, or made otherwise than this command would."""
    path = directory(settings, experiment)
    if not runs.finished(path):
        return "unfinished" if path.exists() else "missing"
    agrees = agreement.agrees(settings, path, config_of(path), OF_A_CHAIN, constants_of(settings, experiment))
    return "finished" if agrees else "made otherwise"


def run_all(settings, photos, chain, expected=None):
    """Run what is not finished, with one bar over all stages and a line for each that ends.

    `expected` are their seconds by name; those of the demo if they are not known, which only say how they compare.
    """
    known = sum(expected.values()) if expected else 0.0
    expected = expected or {e.name: e.cost for e in chain}
    if not VERBOSE:
        os.environ["TQDM_DISABLE"] = "1"  # the stages' own bars
    if settings.overwrite:  # now, so that without it the same command goes on
        for experiment in chain:
            runs.discard(directory(settings, experiment))
    of_names = {e.name: e for e in chain}
    before = [e.name for e in chain if runs.finished(directory(settings, e))]
    for name in before:
        path, constants = directory(settings, of_names[name]), constants_of(settings, of_names[name])
        agreement.must_agree(settings, path, config_of(path), OF_A_CHAIN, constants)
        runs.sweep(path)
    stages_of = {e.name: (e.reads, arguments(settings, e)) for e in chain}
    again = "without --overwrite the same command" if settings.overwrite else "the same command"
    by_now = lambda name: state_of(settings, of_names[name]) == "finished"  # noqa: E731
    ended = runner.run(stages_of, set(before), jobs=JOBS, verbose=VERBOSE, again=again, finished=by_now)
    ahead, spent, cost = sum(expected[e.name] for e in chain if e.name not in before), 0.0, 0.0
    bar = tqdm(total=ahead, disable=None, leave=False, bar_format="{percentage:3.0f} %|{bar}| {desc}")
    for number, name in enumerate(itertools.chain(before, ended), 1):
        path, own = directory(settings, of_names[name]), expected[name]
        seconds, took = summary_of(path)["seconds"], "finished before"
        spent, cost = spent + seconds / JOBS, cost + own
        if number > len(before):
            took, ahead = f"{seconds / 60:.1f} min", ahead - own
            bar.update(own)
        left = expected_time.left(ahead, spent + known, cost + known)  # a short stage says little of the long ones
        bar.set_description_str(f"{number} of {len(chain)} stages{left}")
        words = ", ".join(filter(None, [tables.stage_score(path, photos), took]))
        tqdm.write(f"[{number}/{len(chain)}] {name}: {words}{left}")
        if RESULTS:
            results.keep(RESULTS, settings.runs_root, settings.seed, list(of_names))
    bar.close()


def stages(settings, photos, chain):
    """The stages as a Markdown table: state, score on test, minutes."""
    rows = []
    for experiment in chain:
        path, found = directory(settings, experiment), ["", ""]
        if runs.finished(path):
            found = [tables.stage_score(path, photos), f"{summary_of(path)['seconds'] / 60:.1f}"]
        rows.append([experiment.name, state_of(settings, experiment), *found])
    return tables.markdown(["stage", "state", "test", "min"], rows)


def caption(settings, photos):
    """What the figures of the tables are."""
    weights = {"imagenet": "on ImageNet", "random": "not at all"}.get(settings.weights, f"from {settings.weights}")
    return (
        f"Per-image IoU / Dice of the pet in %, border = pet, on {len(photos.test)} test photos of this data root; in "
        "brackets the published figure (ResNet-50, other splits of Oxford-IIIT Pet; * in another metric). "
        f"{settings.backbone}, pretrained {weights}, {settings.image_size} px, mean ± deviation over the seeds that "
        "are there. Test photos get the map of their label from class-specific CCAM, of the class that the classifier "
        "predicts from other methods.\n"
    )


def sections_of(settings, photos, chain, there):
    """All tables of the summaries that are `there` as Markdown, dict heading -> tables."""
    found = []
    if not ENSEMBLE_ONLY:
        found = [tables.grid(there, t, columns, experiments.cells(t)) for t, columns in experiments.TABLES.items()]
        found.append(tables.all_figures(there, [cell for t in experiments.TABLES for cell in experiments.cells(t)]))
    steps = experiments.cells(experiments.TABLE4)
    found.append(tables.steps(there, experiments.TABLE4, steps, experiments.RATIO))
    if SUPERVISION == "boxes":
        found.append(tables.supervisions(there, "Table 5", experiments.TABLE5))
    return {
        "Tables": "\n".join(found),
        "Ablations": tables.changes(there, experiments.CHANGES, experiments.cells(experiments.CHANGES), steps),
        "Cost of each stage": costs(settings, photos, chain),
    }


def costs(settings, photos, chain):
    """What each stage took, as a Markdown table."""
    return tables.costs([directory(settings, e) for e in chain], len(photos.trainval) + len(photos.test))


def columns_of(settings, chain, columns):
    """(title, folder of masks) of those columns of the sheet or the page that the chain fills."""
    root, names = Path(settings.runs_root), {e.name for e in chain}
    return [(title, root / name / f"seed{settings.seed}" / folder) for title, name, folder in columns if name in names]


def first_and_last(settings, chain):
    """The run directories of the ensemble and of the segmenter that learns from it."""
    scripts = experiments.ENSEMBLE, experiments.SEGMENTER
    return [directory(settings, next(e for e in chain if e.script == script)) for script in scripts]


def write_page(settings, photos, chain, shown, choice, columns, lead, sections):
    """Write report.html; its gallery has the photos `shown`, with the masks of columns = [(title, folder)].

    Args:
        choice: words for how the photos were chosen. sections: dict heading -> Markdown.
    """
    first, last = first_and_last(settings, chain)
    sure = scoring.agreement(photos, shown, first / "masks_crf", last / "masks_crf")
    methods, folders = zip(*columns, strict=True)
    words = {
        "lead": lead,
        "choice": choice,
        "certainty": "the IoU of the first masks and the final ones",
        "map": f"the share of the {len(methods)} methods that find the subject there",
    }
    path = Path(settings.runs_root) / "report.html"
    gallery, lines = page.cards(photos, shown, folders, sure), page.curves([directory(settings, e) for e in chain])
    page.write(path, f"Report: {Path(settings.data_root).name}", gallery, methods, words, sections.items(), lines)
    print(f"report: {path}", flush=True)


def own_chain(settings, photos):
    """The experiments for own photos, trainings as long as their number wants; and dict name -> expected seconds."""
    every = set(photos.breeds[photos.trainval]) == set(range(len(photos.breed_names)))
    classes = len(photos.breed_names) if every and (photos.breeds >= 0).all() else 0
    if not settings.passes:  # a power of two, so that a few photos more do not change it
        settings.passes = 2.0 ** float(np.clip(np.round(np.log2(PHOTOS_A_PASS / len(photos.trainval))), -3, 2))
    masks.check_truths(photos)
    chain = experiments.own(classes, layouts.has_scenes(photos.root), QUICK, SUPERVISION == "boxes")
    names = [e.name for e in chain]
    ahead = [e.name for e in chain if settings.overwrite or not runs.finished(directory(settings, e))]
    members, rounds = len(chain[-2].reads), constants_of(settings, chain[-1])["ROUNDS"]
    expected, left = dict.fromkeys(names, 0), "all stages finished before"
    if ahead:
        expected = expected_time.of_own_chain(settings, photos, names, members, rounds)
        left = f"about {max(1, sum(expected[name] for name in ahead) / 60):.0f} min"
    print(f"{len(photos.trainval)} photos to learn from, {len(photos.test)} held out, trainings {settings.passes:g} "
          f"times as long as usual (--passes), {left}, into {settings.runs_root}", flush=True)  # fmt: skip
    return chain, expected


def say_result(settings, photos, chain):
    """Where the masks and the segmenter of own photos are, and which photos to look at first."""
    first, last = first_and_last(settings, chain)
    index = np.concatenate([photos.test, photos.trainval])
    sure = scoring.agreement(photos, index, first / "masks_crf", last / "masks_crf")
    index = index[sure.argsort(kind="stable")]
    sheet = Path(SHEET or Path(settings.runs_root) / "least_sure.png")
    columns = [("first masks", first / "masks_crf"), ("final masks", last / "masks_crf")]
    pictures.sheet(sheet, photos, index[:LEAST_SURE], columns, LEAST_SURE)
    if EXPORT:
        items = export.of_photos(photos, np.sort(index), last / "masks_crf")
        print(f"export: {export.write(EXPORT, settings.runs_root, items)}")
    print(f"masks: {last / 'masks_crf'}\nsegmenter: {last / 'checkpoint.pt'}\nthe photos it is least sure of: {sheet}")
    if not photos.has_truths():
        print("no masks of yours are there to score against: how good these are, only your eyes can tell")
    shown = index[: page.MOST]
    learnt = f"{len(photos.trainval)} photos, {'their boxes' if SUPERVISION == 'boxes' else 'their labels'} and no mask"
    lead = f"Learnt from {learnt}: {settings.backbone}, {settings.image_size} px, seed {settings.seed}."
    sections = {"Stages": stages(settings, photos, chain), "Cost of each stage": costs(settings, photos, chain)}
    write_page(settings, photos, chain, shown, page.choice(shown, index, "the least certain"), columns, lead, sections)
    print("next:", shlex.join(["python", runs.from_here("train_unet/predict.py"), "NEW_PHOTOS", "--run", str(last)]))


def say_tables(settings, photos, chain, minutes):
    """Print the tables; write them, the sheet and the page."""
    there = results.fitting(settings, photos, OF_A_CHAIN, {e.name: constants_of(settings, e) for e in chain})
    sections, words = sections_of(settings, photos, chain, there), caption(settings, photos)
    text = "\n".join(filter(None, ["" if ENSEMBLE_ONLY else words, *sections.values()]))
    path = Path(settings.runs_root) / f"tables_seed{settings.seed}.md"
    files.write_lines(path, [text])
    print(f"\n{text}\n{minutes:.1f} min\ntables: {path}", flush=True)
    index = photos.test if len(photos.test) else photos.trainval
    if not ENSEMBLE_ONLY:
        sheet = Path(SHEET or path.with_name(f"sheet_seed{settings.seed}.png"))
        pictures.sheet(sheet, photos, index, columns_of(settings, chain, experiments.SHEET), ROWS)
        print(f"pictures: {sheet}", flush=True)
    published = [cell for table in experiments.PUBLISHED for cell in experiments.cells(table)]
    sections["Tables"] += f"\n{tables.beside_published(there, published)}"
    columns = columns_of(settings, chain, experiments.GALLERY)
    shown = pictures.spread(index, page.MOST)
    write_page(settings, photos, chain, shown, page.choice(shown, index, "evenly spread"), columns, words, sections)


def main(settings):
    export.check(EXPORT)
    if SHEET and Path(SHEET).suffix not in pictures.SUFFIXES:
        raise InputError(f"--sheet {SHEET}: the name of a picture, {' or '.join(pictures.SUFFIXES)}")
    if PHOTOS:
        root = Path(settings.runs_root) / f"{Path(PHOTOS).stem}_{MAX_SIDE}"
        settings.data_root = data.select(settings.data_root, PHOTOS, MAX_SIDE, root)
    own = data.layout_of(download.prepare(Path(settings.data_root)), settings.layout) != "oxford" or QUICK
    if EXPORT and not own:
        raise InputError("--export is for own photos; predict.py --export takes any")
    if own and (ENSEMBLE_ONLY or ABLATIONS or TEST_ONLY):
        raise InputError("--ensemble-only, --ablations and --test-only are for the published tables, not own photos")
    if own and settings.runs_root == files.resolved(cli.ROOT / cli.RUNS_ROOT):  # those of other photos stay apart
        settings.runs_root = settings.runs_root / Path(settings.data_root).name
    check_choice("supervision", SUPERVISION, SUPERVISIONS)
    photos = data.load(settings, background=layouts.has_scenes(Path(settings.data_root)))
    if TEST_ONLY:
        photos.only_test()  # says so now if there are none
    if own:
        chain, expected = own_chain(settings, photos)
    else:
        settings.photos["ground truths"] = photos.digest_of_truths  # of their files: no value is read
        settings.passes, expected = settings.passes or cli.PASSES, None
        chain = experiments.chain(photos.has_truths(), ENSEMBLE_ONLY, ABLATIONS, SUPERVISION == "boxes")
    if LIST:
        print(stages(settings, photos, chain))
        return
    if own:  # finished stages of other boxes are refused
        data.boxes_of(settings, photos, SUPERVISION, "train_ccam/boxes_from_trimaps.py")
    start = time.monotonic()
    run_all(settings, photos, chain, expected)
    if own:
        say_result(settings, photos, chain)
    else:
        say_tables(settings, photos, chain, (time.monotonic() - start) / 60)


if __name__ == "__main__":
    cli.run(main, globals(), alone=True)
