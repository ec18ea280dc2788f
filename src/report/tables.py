"""Markdown tables of scores, from finished runs or from folders of masks. What stands in a table is told by its cells.

A cell has `row`, `column`, `score` (key in summary.json's metrics with {} for the split), `published_iou` and `beside`.
"""

import numpy as np

from src import records

READINGS = ("pet_iou", "pet_iou_border_ignored")
COLUMNS = "trainval", "border ignored", "test", "border ignored"
FIGURES = {
    "IoU": "pet_iou", "Dice": "pet_dice", "IoU, border ignored": "pet_iou_border_ignored",
    "dataset IoU": "dataset_iou", "two-class mIoU": "miou",
}  # fmt: skip


def markdown(head, rows):
    """A Markdown table; rows shorter than the head end in empty cells."""
    rows = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def scores_of(summaries, name, key):
    """dict seed -> scores under a key of summary.json's metrics, of those runs of this name that have it."""
    found = {seed: of_runs.get(name, {}).get("metrics", {}).get(key) for seed, of_runs in summaries.items()}
    return {seed: scores for seed, scores in found.items() if scores}


def on_test(summaries, name, cell, figure="pet_iou"):
    """A figure of a cell on test, a fraction, one a seed."""
    return [scores[figure] for scores in scores_of(summaries, name, cell.score.format("test")).values()]


def stage_score(path, photos):
    """What the run at this path has on test, in words, or nothing: "IoU 46.5, crf IoU 49.2"."""
    summary, words = records.summary_of(path), []
    if not records.is_scored_against(summary, photos):
        return "not scored against today's ground truth: train_unet/score_masks.py does"
    for key, figures in summary["metrics"].items():
        for name, word in (("pet_iou", "IoU"), ("accuracy", "accuracy")):
            if key.startswith("test") and name in figures:
                words.append(f"{key[5:]} {word} {100 * figures[name]:.1f}".lstrip())
    return ", ".join(words)


def mean(values, digits=1):
    """Means of the columns as text, with deviations where there are several rows (seeds)."""
    values = np.array(values)
    means = [f"{m:.{digits}f}" for m in values.mean(axis=0)]
    if len(values) == 1:
        return means
    return [f"{m} ± {d:.{digits}f}" for m, d in zip(means, values.std(axis=0, ddof=1), strict=True)]


def percent(scored, names):
    """Figures in %, (seeds, names), of dict seed -> scores."""
    return 100 * np.array([[scores[name] for name in names] for scores in scored.values()])


def grid(summaries, title, columns, cells):
    """Test IoU of cells = [(run's name, cell)] by row and column, a row's best bold, the published IoU in brackets."""
    rows = {cell.row: dict.fromkeys(columns, (None, "")) for _, cell in cells}
    for name, cell in cells:
        values = on_test(summaries, name, cell)
        text = f"{test_iou(values)} ({cell.published_iou})".replace(" (-)", "")
        rows[cell.row][cell.column] = (np.mean(values) if values else 0, text)
    lines = []
    for row, found in rows.items():
        best = max(value for value, _ in found.values() if value is not None)
        lines.append([row, *(f"**{text}**" if value and value == best else text for value, text in found.values())])
    return markdown([title, *columns], lines)


def test_iou(values):
    """Fractions of the seeds as a mean in % with their deviation."""
    return mean(100 * np.array(values)[:, None])[0] if values else "not scored"


def beside_published(summaries, cells):
    """Published and measured test IoU of cells = [(run's name, cell)] in %, each run once, and how they differ.

    What was published in another metric, marked *, has no difference.
    """
    rows = {}
    for name, cell in cells:
        values = on_test(summaries, name, cell)
        if values and cell.published != "-":
            alike = not cell.published_iou.endswith("*")
            change = f"{100 * np.mean(values) - float(cell.published_iou):+.1f}" if alike else ""
            row = [f"{cell.row}, {cell.column}", cell.published_iou, test_iou(values), change]
            rows.setdefault((name, cell.score), row)
    return markdown(["Test IoU, %", "published", "measured", "deviation"], rows.values()) if rows else ""


def all_figures(summaries, cells):
    """Every figure on test of cells = [(run's name, cell)], each run once, over the seeds that are there."""
    rows = []
    for name, key in dict.fromkeys((name, cell.score.format("test")) for name, cell in cells):
        if scored := scores_of(summaries, name, key):
            iou, *rest = mean(percent(scored, FIGURES.values()), 2)
            low, high = percent(scored, ["pet_iou_ci95"]).mean(axis=(0, 1))
            rows.append([f"{name}, {key}", f"{iou} ({low:.1f} to {high:.1f})", *rest, len(scored)])
    head = ["Run, split", "IoU, 95 % interval", *list(FIGURES)[1:], "seeds"]
    return markdown(head, rows)


def both_splits(summaries, name, score):
    """dict seed -> IoU of trainval, the same with the border ignored, and both of test, in %, (4,) arrays."""
    trainval, test = (scores_of(summaries, name, score.format(split)) for split in ("trainval", "test"))
    return {
        seed: 100 * np.array([scored[seed][reading] for scored in (trainval, test) for reading in READINGS])
        for seed in trainval.keys() & test.keys()
    }


def _seeds_row(text, found, digits=1, beside=None):
    """A row of means over the seeds, with deviations, and the mean change against the same seeds of `beside`."""
    if not found:
        return [text, *["-"] * 4, 0]
    texts = mean([found[seed] for seed in sorted(found)], digits)
    if both := found.keys() & (beside or {}).keys():
        change = np.mean([found[seed] - beside[seed] for seed in both], axis=0)
        texts = [f"{t} ({c:+.1f})" for t, c in zip(texts, change, strict=True)]
    return [text, *texts, len(found)]


def steps(summaries, title, cells, ratio):
    """IoU of both splits in both readings, a row a cell that was run; the last row is the ratio of two rows.

    Args:
        cells: [(run's name, cell)].
        ratio: (text, row above, row below).
    """
    found = {cell.row: both_splits(summaries, name, cell.score) for name, cell in cells}
    text, above, below = ratio
    ratios = {seed: found[above][seed] / found[below][seed] for seed in found[above].keys() & found[below].keys()}
    rows = [_seeds_row(row, seeds) for row, seeds in found.items() if seeds]
    return markdown([title, *COLUMNS, "seeds"], [*rows, _seeds_row(text, ratios, digits=3)])


def changes(summaries, title, cells, compared_with):
    """Ablations, cells = [(run's name, cell)], that were run, beside the rows of `compared_with` that they change."""
    on = {cell.row: both_splits(summaries, name, cell.score) for name, cell in compared_with}
    found = [(cell, both_splits(summaries, name, cell.score)) for name, cell in cells]
    rows = [_seeds_row(cell.row, seeds, beside=on[cell.beside]) for cell, seeds in found if seeds]
    return markdown([title, *COLUMNS, "seeds"], rows) if rows else ""


def supervisions(summaries, title, columns):
    """Test IoU of segmenters by what they learned from; the last is full supervision, the ratio to it in brackets.

    Full supervision is read with or without dense CRF, whichever is better; it needs no growth. The seeds are those
    that all columns have, if there are any.

    Args:
        columns: dict name of the supervision -> name of the run of train_on_ensemble.py.
    """
    *weak, full = columns
    shared = {seed: found for seed, found in summaries.items() if found.keys() >= set(columns.values())}
    summaries, rows = shared or summaries, []
    for text, key in (("final masks", "test_final"), ("without growth", "test_crf")):
        for border, reading in zip(("border = pet", "border ignored"), READINGS, strict=True):
            scored = {name: scores_of(summaries, columns[name], key) for name in weak}
            values = {name: [100 * scores[reading] for scores in found.values()] for name, found in scored.items()}
            both = [scores_of(summaries, columns[full], k).values() for k in ("test", "test_crf")]
            values[full] = max(([100 * scores[reading] for scores in found] for found in both), key=sum)
            rows.append([f"{text}, {border}", *(_with_ratio(values[name], values[full]) for name in columns)])
    return markdown([title, *columns], rows)


def _with_ratio(values, full):
    if not values:
        return "not scored"
    text = mean(np.array(values)[:, None])[0]
    return f"{text} ({np.mean(values) / np.mean(full):.3f})" if full and values is not full else text


def costs(paths, count):
    """What each stage took: seconds, milliseconds a photo of `count`, peak memory in MB.

    Args:
        paths: the stages' run directories.
    """
    rows = []
    for path in paths:
        summary = records.summary_of(path)
        seconds = summary["seconds"]
        rows.append([summary["stage"], f"{seconds:.0f}", f"{1000 * seconds / count:.0f}", summary["peak_memory_mb"]])
    return markdown(["stage", "s", "ms a photo", "peak MB"], rows)


def scores_of_folders(title, scores, differences, worst):
    """Scores of folders of masks, their differences from the first, their worst photos; see src/scoring."""
    rows = []
    for name, figures in scores.items():
        texts = [f"{100 * figures[key]:.2f}" for key in FIGURES.values()]
        for reading in READINGS:
            low, high = figures[f"{reading}_ci95"]
            texts[list(FIGURES.values()).index(reading)] += f" ({100 * low:.1f} to {100 * high:.1f})"
        rows.append([name, *texts])
    parts = [markdown([title, *FIGURES], rows)]
    if differences:
        text = "{:+.2f} ({:+.2f} to {:+.2f})"
        rows = [
            [name, *(text.format(*100 * np.array([change, *interval])) for change, interval in both.values())]
            for name, both in differences.items()
        ]
        head = [f"difference from {next(iter(scores))}, paired 95 % interval", "IoU", "IoU, border ignored"]
        parts.append(markdown(head, rows))
    for name, lowest in worst.items():
        parts.append(f"lowest IoU in {name}: " + ", ".join(f"{photo} {100 * iou:.0f}" for photo, iou in lowest) + "\n")
    return "\n".join(parts)
