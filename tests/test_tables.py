"""The tables read what finished runs say, seed by seed; the list of experiments fills each of their cells."""

import re

import numpy as np
import pytest

import experiments
import reproduce
from benchmarks import published_cam, render
from src import data, files, metrics
from src.report import results, tables


@pytest.fixture
def finished(settings):
    """Function: write a summary.json as a finished stage does."""

    def write(name, seed, found):
        path = settings.runs_root / name / f"seed{seed}"
        path.mkdir(parents=True, exist_ok=True)
        files.write_json(path / "summary.json", {"stage": name, "seconds": 1, "metrics": found})

    return write


def scores(trainval, test, key=""):
    """Scores of both splits in percent; with the border ignored they are 5 points higher."""
    both = {"trainval": trainval, "test": test}
    return {
        k + key: {"pet_iou": v / 100, "pet_iou_border_ignored": v / 100 + 0.05, "miou": v / 100}
        for k, v in both.items()
    }


def row(text, name):
    found = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in found[0].strip("|").split("|")[1:]]


def test_mean_and_deviation_over_seeds(settings, finished):
    finished("train_on_ensemble", 0, scores(80, 82, "_final") | scores(70, 72))
    finished("train_on_ensemble", 1, scores(84, 86, "_final") | scores(71, 71))
    finished("train_on_ensemble_gt", 0, scores(100, 90) | scores(100, 90, "_crf"))
    ratio = ("final masks / bound", experiments.FINAL, experiments.BOUND)
    text = tables.steps(results.of_runs(settings.runs_root), "Table 4", experiments.cells(experiments.TABLE4), ratio)
    assert row(text, experiments.FINAL) == ["82.0 ± 2.8", "87.0 ± 2.8", "84.0 ± 2.8", "89.0 ± 2.8", "2"]
    assert row(text, "segmenter trained on them")[2:] == ["71.5 ± 0.7", "76.5 ± 0.7", "2"]
    assert row(text, "final masks / bound") == ["0.800", "0.810", "0.911", "0.916", "1"]
    assert "first masks before dCRF" not in text  # that was not run


def test_results_are_kept_and_read_again(settings, finished, tmp_path):
    finished("ensemble_masks", 0, scores(70, 72, "_crf"))
    finished("train_on_ensemble", 0, scores(80, 82, "_final"))
    finished("train_on_ensemble", 1, scores(84, 86, "_final"))
    found = results.of_runs(settings.runs_root)
    for seed in (0, 1):
        results.keep(tmp_path / "kept", settings.runs_root, seed, ["train_on_ensemble", "not yet there"])
    kept = results.of_folder(tmp_path / "kept")
    assert kept == {seed: {"train_on_ensemble": found[seed]["train_on_ensemble"]} for seed in ("seed0", "seed1")}
    results.keep(tmp_path / "kept", tmp_path / "another runs root", 0, ["train_on_ensemble"])
    assert results.of_folder(tmp_path / "kept") == kept, "another sitting loses nothing"
    text = render.headline(kept)
    assert row(text, "final masks") == ["84.0 ± 2.8", "-"] and row(text, "CAM") == ["not scored", "26.03*"]
    assert row(render.ratios(kept), "border = pet, with growth") == ["84.0 ± 2.8", "not scored", "-"]


def test_ablations_stand_beside_the_same_seeds(settings, finished):
    finished("ensemble_masks", 0, scores(70, 72, "_crf"))
    finished("ensemble_masks", 1, scores(50, 50, "_crf"))
    finished("ensemble_masks_plain", 0, scores(69, 75, "_crf"))
    finished("train_on_ensemble", 0, scores(80, 80, "_crf"))
    finished("train_on_ensemble_no_crf", 0, scores(78, 79, "_crf"))
    ablations, table4 = (experiments.cells(table) for table in (experiments.CHANGES, experiments.TABLE4))
    text = tables.changes(results.of_runs(settings.runs_root), "One thing changed", ablations, table4)
    assert "five members" not in text  # that was not run
    changed = row(text, "first masks: no class evidence")
    assert changed == ["69.0 (-1.0)", "74.0 (-1.0)", "75.0 (+3.0)", "80.0 (+3.0)", "1"]
    assert row(text, "segmenter: masks without dCRF")[0] == "78.0 (-2.0)"


def test_figures_of_another_metric_are_marked_and_have_no_difference(settings, finished):
    cells = experiments.cells("Table 1")
    finished("evaluate_cam_cam_pretrained", 0, scores(50, 54))
    marked = {cell.row for _, cell in cells if cell.published_iou.endswith("*")}
    assert marked == {"CAM", "CAM+ECS"}
    text = tables.beside_published(results.of_runs(settings.runs_root), cells)
    assert re.search(r"^\| CAM, [\w-]+ \| [\d.]+\* \| [^|]+ \|  \|$", text, re.M)


def test_half_a_dice_has_50_for_a_perfect_mask():
    trimap = np.array([[1, 1, 3, 2]], np.uint8)
    counts = np.stack([metrics.confusion(mask, trimap) for mask in (trimap == 1, trimap > 0)])
    assert published_cam.overlap_over_sum(counts).tolist() == [0.5, 2 / 6]


def test_published_cells_stand_beside_means_over_seeds(settings, finished):
    for seed, iou in enumerate((0.72, 0.76)):
        figures = dict.fromkeys(tables.FIGURES.values(), iou) | {"pet_iou_ci95": [iou - 0.02, iou + 0.03]}
        finished("evaluate_ccam_ccam_pretrained", seed, {"test": figures})
        finished("evaluate_cam_layercam_pretrained", seed, {"test": figures})
    text = "\n".join(
        reproduce.sections_of(settings, data.load(settings), [], results.of_runs(settings.runs_root)).values()
    )
    assert row(text, "CCAM")[:2] == ["**74.0 ± 2.8 (68.21)**", "not scored (41.07)"]
    assert row(text, "LayerCAM")[:2] == ["**74.0 ± 2.8**", "not scored"]
    cells = row(text, "evaluate_ccam_ccam_pretrained, test")
    assert cells[0] == "74.00 ± 2.83 (72.0 to 77.0)" and cells[-1] == "2"


def test_every_cell_has_a_place_and_one_experiment_fills_it():
    for experiment in experiments.chain(ablations=True):
        for cell in experiment.cells:
            assert cell.column in experiments.TABLES.get(cell.table, ("",)), cell
            assert not cell.beside or cell.beside in [c.row for _, c in experiments.cells(experiments.TABLE4)]
    for table, columns in experiments.TABLES.items():
        filled = [(cell.row, cell.column) for _, cell in experiments.cells(table)]
        assert len(filled) == len(set(filled)), f"two experiments fill one cell of {table}"
        assert {column for _, column in filled} == set(columns)


def test_a_short_ablation_is_as_short_as_what_it_changes():
    short_of = {e.script: e.short for e in experiments.EXPERIMENTS if not e.ground_truth}
    further = [e for e in experiments.ABLATIONS + experiments.WITH_BOXES if not e.ground_truth]
    assert further and all(e.short == short_of[e.script] for e in further)


def test_upstreams_stand_before_what_reads_them():
    for chosen in (
        experiments.chain(ablations=True),
        experiments.chain(ensemble_only=True),
        experiments.chain(ensemble_only=True, ablations=True, boxes=True),
        experiments.chain(trimaps=False),
    ):
        seen = set()
        for experiment in chosen:
            assert set(experiment.reads) <= seen, experiment.name
            seen.add(experiment.name)
        assert "train_on_ensemble" in seen
    assert "train_on_37CCAM" not in [experiment.name for experiment in experiments.chain(ensemble_only=True)]


def test_costs_of_stages(tmp_path):
    files.write_json(
        tmp_path / "summary.json", {"stage": "ensemble_masks", "seconds": 40, "peak_memory_mb": 7, "metrics": {}}
    )
    assert "| ensemble_masks | 40 | 2000 | 7 |" in tables.costs([tmp_path], 20)


def test_the_sheet_shows_runs_of_the_list():
    assert {name for _, name, _ in experiments.SHEET} <= {experiment.name for experiment in experiments.chain()}


def test_an_ablation_of_other_seeds_stands_alone(settings, finished):
    finished("ensemble_masks", 0, scores(70, 72, "_crf"))
    finished("ensemble_masks_plain", 1, scores(69, 75, "_crf"))
    ablations, table4 = (experiments.cells(table) for table in (experiments.CHANGES, experiments.TABLE4))
    text = tables.changes(results.of_runs(settings.runs_root), "One thing changed", ablations, table4)
    assert row(text, "first masks: no class evidence") == ["69.0", "74.0", "75.0", "80.0", "1"]


def test_supervisions_side_by_side_with_their_share_of_the_bound():
    def run(**keys):
        return {"metrics": {k: {"pet_iou": v, "pet_iou_border_ignored": v} for k, v in keys.items()}}

    of_seed = {"a": run(test_final=0.8, test_crf=0.6), "full": run(test=0.7, test_crf=0.9)}
    lines = tables.supervisions({"seed0": of_seed}, "Table 5", {"labels": "a", "boxes": "b", "full": "full"}).split(
        "\n"
    )
    assert lines[2] == "| final masks, border = pet | 80.0 (0.889) | not scored | 90.0 |"
    assert lines[5] == "| without growth, border ignored | 60.0 (0.667) | not scored | 90.0 |"
    both = {"seed0": of_seed | {"b": run(test_final=0.85)}, "seed1": {"a": run(test_final=0.7)}}  # only seed0 has all
    line = tables.supervisions(both, "Table 5", {"labels": "a", "boxes": "b", "full": "full"}).split("\n")[2]
    assert line == "| final masks, border = pet | 80.0 (0.889) | 85.0 (0.944) | 90.0 |"
    assert {"train_on_ensemble_boxes", "train_on_ensemble", "train_on_ensemble_gt"} == set(experiments.TABLE5.values())
    names = [e.name for e in experiments.chain(boxes=True)]
    assert all(name in names for e in experiments.WITH_BOXES for name in (e.name, *e.reads))
