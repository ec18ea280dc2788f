"""The tables read what finished runs say, seed by seed."""

import pytest

from src import data, runs, tables


@pytest.fixture
def finished(settings):
    """Function: write a summary.json as a finished stage does."""

    def write(script, seed, metrics, **variant):
        settings.seed = seed
        path = runs.directory(settings, script, **variant)
        path.mkdir(parents=True)
        runs.write_json(path / "summary.json", {"metrics": metrics})

    return write


def scores(trainval, test, key=""):
    """Metrics of both splits in percent; with the border ignored they are 5 points higher."""
    both = {"trainval": trainval, "test": test}
    return {k + key: {"pet_iou": v / 100, "pet_iou_border_ignored": v / 100 + 0.05} for k, v in both.items()}


def row(text, name):
    found = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in found[0].strip("|").split("|")[1:]]


def test_mean_and_deviation_over_seeds(settings, finished):
    finished(tables.SEGMENTER, 0, scores(80, 82, "_final") | {"round1": scores(70, 72)})
    finished(tables.SEGMENTER, 1, scores(84, 86, "_final") | {"round1": scores(71, 71)})
    finished(tables.BOUND, 0, scores(100, 90) | scores(100, 90, "_crf"))
    text = tables.table4(settings)
    assert row(text, "+ growth: **the final masks**") == ["82.0 ± 2.8", "87.0 ± 2.8", "84.0 ± 2.8", "89.0 ± 2.8", "2"]
    assert row(text, "segmenter trained on them, round 1")[2:] == ["71.5 ± 0.7", "76.5 ± 0.7", "2"]
    assert row(text, "final masks / bound") == ["0.800", "0.810", "0.911", "0.916", "1"]
    assert row(text, "mean of the members' maps") == ["-", "-", "-", "-", "0"]


def test_ablations_stand_beside_the_same_seeds(settings, finished):
    finished(tables.ENSEMBLE, 0, scores(70, 72, "_crf"))
    finished(tables.ENSEMBLE, 1, scores(50, 50, "_crf"))
    finished(tables.ENSEMBLE, 0, scores(69, 75, "_crf"), name="fixed")
    finished(tables.SEGMENTER, 0, {"round1": scores(80, 80, "_crf")})
    finished(tables.SEGMENTER, 0, scores(78, 79, "_crf"), name="no_crf")
    text = tables.table4(settings)
    assert "without the scale 1.5" not in text  # that was not run
    changed = row(text, "first masks: threshold 0.25 in place of Otsu's")
    assert changed == ["69.0 (-1.0)", "74.0 (-1.0)", "75.0 (+3.0)", "80.0 (+3.0)", "1"]
    assert row(text, "round 1: masks without dCRF")[0] == "78.0 (-2.0)"


def test_published_cells_stand_beside_means_over_seeds(settings, finished):
    for seed, iou in enumerate((0.72, 0.76)):
        figures = dict.fromkeys(("pet_iou", "pet_dice", "pet_iou_border_ignored", "dataset_iou", "miou"), iou)
        metrics = {"test": figures | {"pet_iou_ci95": [iou - 0.02, iou + 0.03]}}
        finished(tables.CCAM, seed, metrics, method="ccam", init="pretrained")
    text = tables.render(settings, data.load(settings))
    assert row(text, "CCAM")[:2] == ["**74.0 ± 2.8 / 74.0 ± 2.8** (68.21 / 80.32)", "not scored (41.07 / 55.85)"]
    cells = row(text, "evaluate_ccam_ccam_pretrained, test")
    assert cells[0] == "74.00 ± 2.83 (72.0 to 77.0)" and cells[-1] == "2"
    assert "seed 0, 1." in text


def test_costs_of_stages(settings, finished):
    finished(tables.ENSEMBLE, 0, {})
    path = runs.directory(settings, tables.ENSEMBLE)
    runs.write_json(path / "summary.json", {"stage": "ensemble_masks", "seconds": 40, "peak_memory_mb": 7})

    class Photos:
        trainval, test = range(15), range(5)

    assert "| ensemble_masks | 40 | 2000 | 7 |" in tables.costs(Photos, [path])
