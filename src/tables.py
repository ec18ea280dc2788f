"""The published tables beside ours, Table 4, what all cost, and the sheet of pictures, from finished runs."""

import numpy as np

from src import masks, pictures, runs

# Published: ResNet-50, the full Oxford-IIIT Pet, 224 px; per-image IoU / Dice of the pet in %.
# They are references, not truth: the CAM rows come from a faulty union, and no set of photos has the last row's pair.
CAM, CCAM = "train_classifier/evaluate_cam.py", "train_ccam/evaluate_ccam.py"
SPECIFIC, UNET = "train_class_specific_ccam/generate_masks.py", "train_unet/evaluate_unet.py"


def _row(name, script, key, columns, published, **variant):
    """A row whose cells differ in the classifier: published figures by column, ours from the runs."""
    return name, [
        (text, (script, {**variant, "init": init}, key)) for init, text in zip(columns, published, strict=True)
    ]


def _rows(columns, published):
    return [
        _row("CAM", CAM, "test", columns, published[0]),
        _row("CAM+ECS", CAM, "test_ecs", columns, published[1]),
        _row("CCAM", CCAM, "test", columns, published[2], method="ccam"),
        _row("CCAM+ECS", CCAM, "test", columns, published[3], method="ccam_ecs"),
    ]


def _specific(published, key, unet):
    pretrained = (CCAM, {"method": "ccam", "init": "pretrained"}, key)
    cells = [pretrained, (SPECIFIC, {"model": "cat_dog"}, key), (SPECIFIC, {"model": "specific_37_class"}, key)]
    return list(zip(published, [*cells, (UNET, {"model": unet}, "test")], strict=True))


TABLES = (
    ("Table 1", ("Pretrained", "2-class", "37-class"), _rows(
        ("pretrained", "cat_dog", "37_class"),
        (("26.03 / 40.51", "12.73 / 21.70", "20.89 / 33.19"), ("25.68 / 40.13", "13.64 / 23.13", "20.98 / 33.32"),
         ("68.21 / 80.32", "41.07 / 55.85", "15.10 / 23.93"), ("-", "-", "24.59 / 37.31")),
    )),
    ("Table 2", ("2", "2/bg", "37", "37/bg"), _rows(
        ("cat_dog", "cat_dog_bg", "37_class", "37_bg"),
        (("12.73 / 21.70", "29.64 / 45.27", "20.89 / 33.19", "20.90 / 33.20"),
         ("13.64 / 23.13", "29.24 / 44.81", "20.98 / 33.32", "21.44 / 33.96"),
         ("41.07 / 55.85", "48.58 / 63.27", "15.10 / 23.93", "29.08 / 41.76"),
         ("-", "48.65 / 63.44", "24.59 / 37.31", "42.80 / 58.36")),
    )),
    ("Table 3", ("Pretrained", "2 class-specific", "37 class-specific", "U-Net on the 37"), [
        ("CCAM", _specific(
            ("68.21 / 80.32", "52.97 / 67.63", "59.78 / 73.26", "59.29 / 73.63"), "test", "train_on_37CCAM")),
        ("CCAM+dCRF", _specific(
            ("76.02 / 85.64", "51.15 / 64.99", "59.79 / 72.32", "61.58 / 75.30"), "test_crf", "train_on_37CCAM_CRF")),
        ("U-Net on ground truth", [("68.25 / 84.77", (UNET, {"model": "train_on_gt"}, "test"))]),
    ]),
)  # fmt: skip

# Table 4: what each step adds; (text, script, variant, where in summary.json's metrics, key after the split's name).
ENSEMBLE, SEGMENTER = "train_ccam/ensemble_masks.py", "train_unet/train_on_ensemble.py"
BOUND = "train_unet/train_on_ensemble_gt.py"
STEPS = (
    ("CCAM of the pretrained network + dCRF", CCAM, {"method": "ccam", "init": "pretrained"}, (), "_crf"),
    ("mean of the members' maps", ENSEMBLE, {}, (), ""),
    ("+ dCRF: the first masks", ENSEMBLE, {}, (), "_crf"),
    ("segmenter trained on them, round 1", SEGMENTER, {}, ("round1",), ""),
    ("+ dCRF", SEGMENTER, {}, ("round1",), "_crf"),
    ("mean of rounds 1 and 2", SEGMENTER, {}, ("round2",), ""),
    ("+ dCRF", SEGMENTER, {}, ("round2",), "_crf"),
    ("segmenter of round 3, alone", SEGMENTER, {}, (), ""),
    ("+ dCRF", SEGMENTER, {}, (), "_crf"),
    ("+ growth: **the final masks**", SEGMENTER, {}, (), "_final"),
    ("bound: the same segmenter on ground truth", BOUND, {}, (), ""),
    ("+ dCRF", BOUND, {}, (), "_crf"),
)
# What is left out or put in, the step that it changes, its run, and the flags that make it.
ABLATIONS = (
    ("first masks: one CCAM in place of five", 2, ENSEMBLE, "one", "--members", "ccam pretrained"),
    ("first masks: the CAM of cats, dogs and background joins the five", 2, ENSEMBLE, "six", "--members",
     "ccam pretrained", "ccam cat_dog_bg", "ccam 37_bg", "specific cat_dog", "specific specific_37_class",
     "cam cat_dog_bg"),
    ("first masks: threshold 0.25 in place of Otsu's", 2, ENSEMBLE, "fixed", "--threshold", "0.25"),
    ("first masks: without the scale 1.5", 2, ENSEMBLE, "two_scales", "--scales", "0.75", "1.0"),
    ("round 1: masks of one CCAM", 4, SEGMENTER, "one", "--masks", "one", "--rounds", "1"),
    ("round 1: masks without dCRF", 4, SEGMENTER, "no_crf", "--no-refine", "--rounds", "1"),
)  # fmt: skip


def table4(settings):
    """Table 4 as Markdown, over the seeds that are there: IoU of trainval and test, border as pet and ignored."""
    lines = ["| Table 4 | trainval | border ignored | test | border ignored | seeds |", "| --- " * 6 + "|"]
    for text, script, variant, place, key in STEPS:
        lines.append(_seeds_row(text, _seeds(settings, script, variant, place, key)))
    final, bound = (_seeds(settings, *STEPS[k][1:]) for k in (9, 10))
    both = final.keys() & bound.keys()
    ratios = np.array([np.divide(final[seed], bound[seed]) for seed in sorted(both)])
    lines.append(_seeds_row("final masks / bound", dict(enumerate(ratios))))
    changed = []
    for text, step, script, name, *_ in ABLATIONS:
        on = _seeds(settings, script, {}, *STEPS[step][3:])
        place = () if script == SEGMENTER else STEPS[step][3]  # an ablation of round 1 has no other
        off = _seeds(settings, script, runs.named(name), place, STEPS[step][4])
        if off:
            changed.append(_seeds_row(text, off, {seed: on[seed] for seed in off.keys() & on.keys()}))
    if changed:
        head = "| One thing changed (by how much) | trainval | border ignored | test | border ignored | seeds |"
        lines += ["", head, "| --- " * 6 + "|", *changed]
    return "\n".join(lines) + "\n"


def _finished(settings, script, variant):
    """dict seed's directory -> metrics of the finished runs of a stage."""
    paths = sorted(runs.directory(settings, script, **variant).parent.glob("seed*/summary.json"))
    return {path.parent.name: runs.read_json(path)["metrics"] for path in paths}


def _seeds(settings, script, variant, place, key):
    """dict seed -> IoU of trainval, the same with the border ignored, and both of test, in %, of the finished runs."""
    found = {}
    for seed, metrics in _finished(settings, script, variant).items():
        for part in place:
            metrics = metrics.get(part, {})
        if f"test{key}" in metrics:
            scores = [metrics[split + key] for split in ("trainval", "test")]
            found[seed] = [100 * s[n] for s in scores for n in ("pet_iou", "pet_iou_border_ignored")]
    return found


def _percent(scored, names):
    """Rows of figures in %, one a seed, of dict seed -> metrics of a split."""
    return [[100 * np.array(figures[name]) for name in names] for figures in scored.values()]


def _mean(values, digits):
    """Means of the columns as text, with deviations where there are several rows."""
    values = np.array(values)
    means = [f"{mean:.{digits}f}" for mean in values.mean(axis=0)]
    if len(values) == 1:
        return means
    return [f"{mean} ± {d:.{digits}f}" for mean, d in zip(means, values.std(axis=0, ddof=1), strict=True)]


def _seeds_row(text, found, beside=None):
    """A row of means, with deviations where there are several seeds, and the change against `beside`'s."""
    cells = ["-"] * 4
    if found:
        values = list(found.values())
        cells = _mean(values, 3 if np.max(values) < 2 else 1)
        if beside:
            change = np.mean([np.subtract(found[seed], beside[seed]) for seed in beside], axis=0)
            cells = [f"{c} ({d:+.1f})" for c, d in zip(cells, change, strict=True)]
    return f"| {text} | " + " | ".join(cells) + f" | {len(found)} |"


def render(settings, photos):
    """Tables 1 to 3 as Markdown over the seeds that are there, published figures in brackets, then every figure."""
    lines, used, seeds = [], {}, set()
    for title, columns, rows in TABLES:
        lines += [f"| {title} | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
        for name, cells in rows:
            texts = []
            for published, (script, variant, key) in cells:
                scored = {s: m[key] for s, m in _finished(settings, script, variant).items() if key in m}
                ours = "not scored"
                if scored:
                    ours = f"**{' / '.join(_mean(_percent(scored, ('pet_iou', 'pet_dice')), 1))}**"
                    used[runs.stage_name(script, **variant), key] = scored
                    seeds |= scored.keys()
                texts.append(f"{ours} ({published})")
            lines.append(f"| {name} | " + " | ".join(texts + [""] * (len(columns) - len(texts))) + " |")
        lines.append("")
    lines += [
        "| Run, split | IoU, 95 % interval | Dice | IoU, border ignored | dataset IoU | mIoU | seeds |",
        "| --- " * 7 + "|",
    ]
    names = ("pet_iou", "pet_dice", "pet_iou_border_ignored", "dataset_iou", "miou")
    for (stage, key), scored in used.items():
        iou, *rest = _mean(_percent(scored, names), 2)
        low, high = np.mean(_percent(scored, ["pet_iou_ci95"]), axis=(0, 1))
        lines.append(f"| {stage}, {key} | {iou} ({low:.1f} to {high:.1f}) | {' | '.join(rest)} | {len(scored)} |")
    return "\n".join([_what(settings, photos, sorted(s.removeprefix("seed") for s in seeds)), "", *lines]) + "\n"


def costs(photos, paths):
    """What each stage took, as Markdown: seconds, milliseconds a photo of the data root, peak memory in MB.

    Args:
        paths: the stages' run directories.
    """
    lines = ["| Stage | s | ms a photo | peak MB |", "| --- " * 4 + "|"]
    count = len(photos.trainval) + len(photos.test)
    for path in paths:
        summary = runs.read_json(path / "summary.json")
        seconds = summary["seconds"]
        lines.append(
            f"| {summary['stage']} | {seconds:.0f} | {1000 * seconds / count:.0f} | {summary['peak_memory_mb']} |"
        )
    return "\n".join(lines) + "\n"


def _what(settings, photos, seeds):
    pretrained = {
        "imagenet": "on ImageNet",
        "drawings": "by this project on labelled drawings (no ImageNet weights are used)",
        "random": "not at all",
    }.get(settings.weights, f"from {settings.weights.rpartition('/')[2]}")
    return (
        f"Per-image IoU / Dice of the pet in %, border = pet, on {len(photos.test)} test photos of this data root; "
        f"in brackets the published figure (ResNet-50, full Oxford-IIIT Pet, another split). {settings.backbone}, "
        f"pretrained {pretrained}, {settings.image_size} px, seed {', '.join(seeds)}. Test photos get the map of the "
        "class that the classifier predicts (CAM, CAM+ECS) or of their label (class-specific CCAM); CCAM asks for none."
    )


def draw_sheet(settings, photos, path):
    """The sheet: photo, each method's mask with its IoU, ground truth; test photos, evenly spread."""

    def from_run(script, folder="masks", **variant):
        run = runs.directory(settings, script, **variant)
        return lambda i: masks.read(run / folder / f"{photos.names[i]}.png")

    columns = [
        ("photo", None),
        ("CAM", from_run(CAM, init="pretrained")),
        ("CAM+ECS", from_run(CAM, "masks_ecs", init="pretrained")),
        ("CCAM", from_run(CCAM, method="ccam", init="pretrained")),
        ("CCAM+ECS", from_run(CCAM, method="ccam_ecs", init="pretrained")),
        ("class-specific", from_run(SPECIFIC, model="specific_37_class")),
        ("+dCRF", from_run(SPECIFIC, "masks_crf", model="specific_37_class")),
        ("U-Net", from_run(UNET, model="train_on_37CCAM_CRF")),
        ("ensemble", from_run(SEGMENTER, "masks_final")),
    ]
    if photos.has_trimaps():
        columns.append(("ground truth", lambda i: masks.ground_truth(photos.trimap_path(i))))
    pictures.sheet(path, photos, photos.test if len(photos.test) else photos.trainval, columns)
