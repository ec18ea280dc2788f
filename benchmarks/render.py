"""Render the tables of the documents from the figures in benchmarks/results.

Run:    python benchmarks/render.py
Reads:  benchmarks/results/<set>/seed<N>.json, which `reproduce.py --results` writes
Writes: what stands between <!-- table: <name> <set> --> and <!-- end --> in README.md and benchmarks/*.md
"""

import re
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory

import numpy as np

import experiments
from src import cli
from src.report import results, tables

ROOT = cli.ROOT
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "benchmarks").glob("*.md")))
BLOCK = re.compile(r"(<!-- table: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.S)
CELLS = {cell.row: (name, cell) for name, cell in experiments.cells(experiments.TABLE4)}
FINAL, BOUND, BOUND_CRF = experiments.FINAL, experiments.BOUND, experiments.BOUND_CRF
HEADLINE = {
    "CAM": "CAM of the pretrained network",
    "CCAM": "CCAM of the pretrained network",
    "CCAM + dense CRF": "CCAM of the pretrained network + dCRF",
    "final masks": FINAL,
    "bound: the same segmenter, trained on ground truth": BOUND,
}
OTHER = "https://github.com/bennylao/cv-cam-based-img-segmentation"  # another weak / full pair on this dataset
MANY = 80  # trainval photos of a breed of the subset whose trimaps are the dataset's own
IOU, IGNORED = tables.READINGS
STRATA = "own trimaps", "border ignored", "rebuilt trimaps", "border ignored"


def on_test(summaries, row, figure=IOU):
    """A figure of a row of Table 4 on test, one a seed."""
    return tables.on_test(summaries, *CELLS[row], figure)


def headline(summaries):
    """Five rows of Table 4, one number each."""
    rows = []
    for text, row in HEADLINE.items():
        rows.append([text, tables.test_iou(on_test(summaries, row)), CELLS[row][1].published_iou])
    return tables.markdown(["test IoU, %", "here", "published"], rows)


def ratios(summaries):
    """Weak over full supervision, read in three ways, and in the metric of other projects."""
    read = (FINAL, experiments.REFINED, BOUND, BOUND_CRF)
    values = {(row, figure): np.array(on_test(summaries, row, figure))
              for row in read for figure in (IOU, IGNORED, "miou")}  # fmt: skip
    better = np.maximum(values[BOUND, IGNORED], values[BOUND_CRF, IGNORED])
    pooled = values[FINAL, "miou"], values[BOUND, "miou"]
    lines = {
        "border = pet, without growth": (values[experiments.REFINED, IOU], values[BOUND, IOU]),
        "border = pet, with growth": (values[FINAL, IOU], values[BOUND, IOU]),
        "border ignored, with growth, against the better bound": (values[FINAL, IGNORED], better),
        f"pooled two-class mIoU, with growth ([others]({OTHER}), by batch, of a random 30 %: 77.6 / 92.3)": pooled,
    }
    rows = [[text, tables.test_iou(list(weak)), tables.test_iou(list(full)), *_ratio(weak, full)]
            for text, (weak, full) in lines.items()]  # fmt: skip
    return tables.markdown(["weak / full", "weak", "full", "ratio"], rows)


def _ratio(weak, full):
    return tables.mean((weak / full)[:, None], 3) if len(weak) and len(weak) == len(full) else ["-"]


def published(table):
    """Function, summaries to one of the published tables."""
    return lambda summaries: tables.grid(summaries, table, experiments.TABLES[table], experiments.cells(table))


def steps(summaries):
    """Table 4."""
    return tables.steps(summaries, experiments.TABLE4, experiments.cells(experiments.TABLE4), experiments.RATIO)


def figures(summaries):
    """Every figure of the published tables' runs."""
    return tables.all_figures(summaries, [cell for table in experiments.TABLES for cell in experiments.cells(table)])


def by_stratum(summaries, name, score):
    """dict seed -> IoU of test photos with the dataset's own trimaps, the same with the border ignored, and both of
    those with rebuilt ones, in %, (4,) arrays."""
    lines = (ROOT / "data" / "pet_subset.txt").read_text().split("\n")
    counts = Counter(line.rpartition("_")[0] for line in lines if line.endswith(" trainval"))
    own = {breed for breed, count in counts.items() if count >= MANY}
    found = {}
    for seed, scores in tables.scores_of(summaries, name, score.format("test")).items():
        parts = [np.array([v for breed, v in scores["by_class"].items() if (breed in own) == wanted])
                 for wanted in (True, False)]  # fmt: skip
        means = [np.average(part[:, 1:3], axis=0, weights=part[:, 0]) for part in parts]
        found[seed] = 100 * np.concatenate(means)
    return found


def strata(summaries):
    """Table 4's test IoU in both readings, of the breeds with the dataset's own trimaps and of those with rebuilt."""
    rows = []
    for row, (name, cell) in CELLS.items():
        found = by_stratum(summaries, name, cell.score)
        rows.append([row, *tables.mean([found[seed] for seed in sorted(found)])])
    return tables.markdown(["Test IoU, %", *STRATA], rows)


def table5(summaries):
    """Labels, boxes and ground truth side by side."""
    return tables.supervisions(summaries, "Table 5", experiments.TABLE5)


def runs(summaries):
    """What made the figures: of each seed the runs, commits, device, precision and minutes."""
    rows = []
    for seed, of_seed in summaries.items():
        made_by = [" ".join(sorted({s[key] for s in of_seed.values()})) for key in ("commit", "device", "precision")]
        rows.append([seed, len(of_seed), *made_by, f"{sum(s['seconds'] for s in of_seed.values()) / 60:.0f}"])
    return tables.markdown(["seed", "runs", "commit", "device", "precision", "stage minutes"], rows)


def spread(name):
    """Rows of the headline on one set run in several ways, results/<name>*, a column each, and the widest change."""
    columns = {}
    for path in sorted(RESULTS.glob(f"{name}*")):
        for seed, of_seed in results.of_folder(path).items():
            way = path.name.removeprefix(name).replace("_", " ").strip()
            precision = " ".join({summary["precision"] for summary in of_seed.values()})
            column = f"{way or precision}, {seed}"
            columns[f"{path.name}, {seed}" if column in columns else column] = {seed: of_seed}
    rows = []
    for text, row in HEADLINE.items():
        values = [on_test(found, row) for found in columns.values()]
        known = [100 * value for one in values for value in one]
        widest = f"{max(known) - min(known):.1f}" if len(known) > 1 else "-"
        rows.append([text, *(tables.test_iou(one) for one in values), widest])
    return tables.markdown(["Test IoU, %", *columns, "widest"], rows)


RENDERERS = {
    "headline": headline, "ratios": ratios, "steps": steps, "figures": figures, "strata": strata, "runs": runs,
    "table5": table5,
    "tables": lambda summaries: "\n".join(published(t)(summaries) for t in experiments.PUBLISHED),
    **{table.replace(" ", "").lower(): published(table) for table in experiments.TABLES},
}  # fmt: skip


def render(text):
    """A document with its tables rendered anew."""

    def block(match):
        before, table, name, after = match.groups()
        summaries = results.of_folder(RESULTS / name)
        if table == "spread":
            return before + spread(name) + after
        return before + (RENDERERS[table](summaries) if summaries else "") + after  # nothing of what was not run

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(render(document.read_text(encoding="utf-8")), encoding="utf-8")
