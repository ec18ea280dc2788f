"""The one list of experiments: script, variant, upstreams, what --short changes, which cell of which table it fills.

reproduce.py runs the list from top to bottom; stages, tables, the sheet and the tests' counts follow from it.
"""

from dataclasses import dataclass

from src import runs


@dataclass(frozen=True)
class Cell:
    """A cell of a table: where it stands, what of the run it shows, what was published for it.

    Args:
        score: key in summary.json's metrics with {} for the split.
        published: IoU / Dice in %; with * in a metric of their own, of at most 50 (instruction.md, section 2).
        beside: of an ablation, the row of Table 4 that it changes.
    """

    table: str
    row: str
    column: str = ""
    score: str = "{}"
    published: str = "-"
    beside: str = ""

    @property
    def published_iou(self):
        return self.published.partition(" / ")[0]


@dataclass(frozen=True)
class Experiment:
    """One run of one script.

    Args:
        variant: flags that name its run directory; flags: further ones; short: those that --short adds.
        reads: names of the runs that it starts from.
        cells: what it fills.
        ground_truth: it learned from trimaps.
    """

    script: str
    variant: dict
    reads: tuple = ()
    flags: tuple = ()
    short: tuple = ()
    cells: tuple = ()
    ground_truth: bool = False

    @property
    def cost(self):
        """Seconds that it took in the demo on two cores: with what the others took, how long it will take."""
        return COSTS[self.script.rpartition("/")[2].removesuffix(".py")]

    @property
    def only_scores(self):
        """Whether nobody needs its masks of trainval: no stage reads them, and Table 4 does not score them."""
        return "/evaluate_" in self.script and not any(cell.table == TABLE4 for cell in self.cells)

    @property
    def name(self):
        """Name of its run directory."""
        return runs.stage_name(self.script, **self.variant)


COSTS = {
    "train_classifier_cat_dog": 10, "train_classifier_cat_dog_bg": 12, "train_classifier_37_class": 10,
    "train_classifier_37_bg": 12, "evaluate_cam": 2, "train_ccam": 12, "evaluate_ccam": 3, "train_ccam_ecs": 12,
    "train_ccam_on_specific_cat_dog": 8, "train_ccam_on_specific_37_class": 9, "generate_masks": 9,
    "train_on_37CCAM": 28, "train_on_37CCAM_CRF": 28, "train_on_gt": 28, "evaluate_unet": 6, "ensemble_masks": 8,
    "boxes_from_trimaps": 1, "train_on_ensemble": 52, "train_on_ensemble_gt": 50,
}  # fmt: skip

# Tables and their columns; the rows are those of the cells, in the order of the list below.
PUBLISHED = {  # ResNet-50, the full Oxford-IIIT Pet, 224 px: references, not truth (instruction.md, section 2)
    "Table 1": ("Pretrained", "2-class", "37-class"),
    "Table 2": ("2", "2/bg", "37", "37/bg"),
    "Table 3": ("Pretrained", "2 class-specific", "37 class-specific", "U-Net on the 37"),
}
BESIDE_CAM = "Beside CAM"
COLUMNS = {  # of what starts from the pretrained network, or from a classifier
    "pretrained": {"Table 1": "Pretrained", BESIDE_CAM: "Pretrained"},
    "cat_dog": {"Table 1": "2-class", "Table 2": "2", BESIDE_CAM: "2"},
    "37_class": {"Table 1": "37-class", "Table 2": "37", BESIDE_CAM: "37"},
    "cat_dog_bg": {"Table 2": "2/bg", BESIDE_CAM: "2/bg"},
    "37_bg": {"Table 2": "37/bg", BESIDE_CAM: "37/bg"},
}
TABLES = PUBLISHED | {BESIDE_CAM: tuple(columns[BESIDE_CAM] for columns in COLUMNS.values())}
TABLE4, CHANGES = "Table 4", "One thing changed (by how much)"
FINAL, BOUND = "+ growth: **the final masks**", "bound: the same segmenter on ground truth"
BOUND_CRF, RATIO = "bound + dCRF", ("final masks / bound", FINAL, BOUND)
TABLE5 = {"image labels": "train_on_ensemble", "boxes": "train_on_ensemble_boxes", "full": "train_on_ensemble_gt"}
FIRST, REFINED = "+ dCRF: the first masks", "segmenter + dCRF"  # rows that ablations change

ONE_SCALE = ("--scales", "1.0")
FIVE = {  # members of an ensemble, and the runs that they are read from
    "ccam pretrained": "train_ccam_pretrained", "ccam cat_dog_bg": "train_ccam_cat_dog_bg",
    "ccam 37_bg": "train_ccam_37_bg", "class_specific_ccam specific_cat_dog": "train_ccam_on_specific_cat_dog",
    "class_specific_ccam specific_37_class": "train_ccam_on_specific_37_class",
}  # fmt: skip
SHORT_UNET = ("--size", "64", "--epochs", "7")
PLAIN = ("--evidence", "0")  # no class evidence
SHORT_MASKS = (*ONE_SCALE, *PLAIN)
SHORT_BOUND = ("--epochs", "12", "--batch-size", "8")
SHORT_SEGMENTER = (*SHORT_BOUND, "--rounds", "1")
MEMBER = ("train_ccam_pretrained",)
QUICK = ("--rounds", "2")  # of the segmenter of own photos in a hurry
ENSEMBLE, SEGMENTER = "train_ccam/ensemble_masks.py", "train_unet/train_on_ensemble.py"


def on_classifier(init):
    """The run that a stage on this classifier reads; none for the pretrained network."""
    return () if init == "pretrained" else (f"train_classifier_{init}",)


def cells_of(row, init, published, tables):
    """The cells that a run on this classifier fills: one in each of the tables that has a column for it."""
    return tuple(
        Cell(table, row, column, published=published.get(init, "-"))
        for table, column in COLUMNS[init].items()
        if table in tables
    )


def cam(row, method, published=(), tables=tuple(PUBLISHED), further=()):
    """A method that needs no training, on each classifier; `published` and further cells by classifier."""
    for init in COLUMNS:
        yield Experiment(
            "train_classifier/evaluate_cam.py", {"method": method, "init": init}, on_classifier(init),
            short=ONE_SCALE, cells=cells_of(row, init, dict(published), tables) + dict(further).get(init, ()),
        )  # fmt: skip


def ccam(row, method, short, short_masks, published, refined=None):
    """A class-agnostic CCAM on each classifier: training and masks; `refined` by classifier: cells that want dCRF."""
    for init in COLUMNS:
        further = (refined or {}).get(init, ())
        yield Experiment(f"train_ccam/train_{method}.py", {"init": init}, on_classifier(init), short=short)
        yield Experiment(
            "train_ccam/evaluate_ccam.py", {"method": method, "init": init}, (f"train_{method}_{init}",),
            flags=("--refine",) if further else (), short=short_masks,
            cells=cells_of(row, init, published, PUBLISHED) + further,
        )  # fmt: skip


def class_specific(model, column, published, published_crf):
    yield Experiment(f"train_class_specific_ccam/train_ccam_on_{model}.py", {})
    yield Experiment(
        "train_class_specific_ccam/generate_masks.py", {"model": model}, (f"train_ccam_on_{model}",), short=ONE_SCALE,
        cells=(Cell("Table 3", "CCAM", column, published=published),
               Cell("Table 3", "CCAM+dCRF", column, "{}_crf", published_crf)),
    )  # fmt: skip


def unet(model, row, column, published, reads=(), ground_truth=False):
    yield Experiment(f"train_unet/{model}.py", {}, reads, short=SHORT_UNET, ground_truth=ground_truth)
    yield Experiment(
        "train_unet/evaluate_unet.py", {"model": model}, (model,),
        cells=(Cell("Table 3", row, column, published=published),), ground_truth=ground_truth,
    )  # fmt: skip


def without(row, script, name, reads, *flags):
    """An ablation: one thing of Table 4 changed, beside the row that it changes."""
    short, beside = (SHORT_SEGMENTER, REFINED) if script == SEGMENTER else (SHORT_MASKS, FIRST)
    cell = Cell(CHANGES, row, score="{}_crf", beside=beside)
    return Experiment(script, {"name": name}, reads, flags, short, cells=(cell,))


EXPERIMENTS = [
    *(Experiment(f"train_classifier/train_classifier_{init}.py", {}, short=("--frozen-stages", "4", "--epochs", "4"))
      for init in COLUMNS if init != "pretrained"),
    *cam("CAM", "cam", {
        "pretrained": "26.03* / 40.51*", "cat_dog": "12.73* / 21.70*", "cat_dog_bg": "29.64* / 45.27*",
        "37_class": "20.89* / 33.19*", "37_bg": "20.90* / 33.20*",
    }, tables=TABLES, further={"pretrained": (
        Cell(TABLE4, "CAM of the pretrained network", published="26.03* / 40.51*"),
    )}),
    *cam("CAM+ECS", "cam_ecs", {
        "pretrained": "25.68* / 40.13*", "cat_dog": "13.64* / 23.13*", "cat_dog_bg": "29.24* / 44.81*",
        "37_class": "20.98* / 33.32*", "37_bg": "21.44* / 33.96*",
    }),
    *cam("LayerCAM", "layercam", tables=[BESIDE_CAM]),
    *ccam("CCAM", "ccam", ("--epochs", "40"), ONE_SCALE, {
        "pretrained": "68.21 / 80.32", "cat_dog": "41.07 / 55.85", "cat_dog_bg": "48.58 / 63.27",
        "37_class": "15.10 / 23.93", "37_bg": "29.08 / 41.76",
    }, refined={"pretrained": (
        Cell("Table 3", "CCAM", "Pretrained", published="68.21 / 80.32"),
        Cell("Table 3", "CCAM+dCRF", "Pretrained", "{}_crf", "76.02 / 85.64"),
        Cell(TABLE4, "CCAM of the pretrained network", published="68.21 / 80.32"),
        Cell(TABLE4, "CCAM of the pretrained network + dCRF", score="{}_crf", published="76.02 / 85.64"),
    )}),
    *ccam("CCAM+ECS", "ccam_ecs", ("--epochs", "3"), (*ONE_SCALE, "--threshold", "0.6"), {
        "cat_dog_bg": "48.65 / 63.44", "37_class": "24.59 / 37.31", "37_bg": "42.80 / 58.36",
    }),
    *class_specific("specific_cat_dog", "2 class-specific", "52.97 / 67.63", "51.15 / 64.99"),
    *class_specific("specific_37_class", "37 class-specific", "59.78 / 73.26", "59.79 / 72.32"),
    *unet("train_on_37CCAM", "CCAM", "U-Net on the 37", "59.29 / 73.63", ("generate_masks_specific_37_class",)),
    *unet("train_on_37CCAM_CRF", "CCAM+dCRF", "U-Net on the 37", "61.58 / 75.30",
          ("generate_masks_specific_37_class",)),
    *unet("train_on_gt", "U-Net (random weights) on ground truth", "Pretrained", "68.25 / 84.77", ground_truth=True),
    Experiment(
        ENSEMBLE, {}, MEMBER, short=SHORT_MASKS,
        cells=(Cell(TABLE4, "first masks before dCRF"), Cell(TABLE4, FIRST, score="{}_crf")),
    ),
    Experiment(
        SEGMENTER, {}, ("ensemble_masks",), short=SHORT_SEGMENTER,
        cells=(Cell(TABLE4, "segmenter trained on them"), Cell(TABLE4, REFINED, score="{}_crf"),
               Cell(TABLE4, FINAL, score="{}_final")),
    ),
    Experiment(
        "train_unet/train_on_ensemble_gt.py", {}, short=SHORT_BOUND, ground_truth=True,
        cells=(Cell(TABLE4, BOUND), Cell(TABLE4, BOUND_CRF, score="{}_crf")),
    ),
]  # fmt: skip
BOXES = ("--supervision", "boxes")
ABLATIONS = [
    without("first masks: no class evidence", ENSEMBLE, "plain", MEMBER, *PLAIN),
    without("first masks: five members in place of one", ENSEMBLE, "five", tuple(FIVE.values()), "--members", *FIVE),
    without("segmenter: no class evidence", SEGMENTER, "plain", ("ensemble_masks_plain",), "--masks", "plain", *PLAIN),
    without("segmenter: masks of five members", SEGMENTER, "five", ("ensemble_masks_five",), "--masks", "five"),
    without("segmenter: masks without dCRF", SEGMENTER, "no_crf", ("ensemble_masks",), "--no-refine"),
    without("segmenter: one round in place of three", SEGMENTER, "one", ("ensemble_masks",), "--rounds", "1"),
    without("segmenter: no stage frozen", SEGMENTER, "free", ("ensemble_masks",), "--frozen-stages", "0"),
]  # fmt: skip
WITH_BOXES = [
    Experiment("train_ccam/boxes_from_trimaps.py", {}, ground_truth=True),
    Experiment(ENSEMBLE, {"name": "boxes"}, (*MEMBER, "boxes_from_trimaps"), BOXES, SHORT_MASKS),
    Experiment(SEGMENTER, {"name": "boxes"}, ("ensemble_masks_boxes",), (*BOXES, "--masks", "boxes"), SHORT_SEGMENTER),
]  # fmt: skip

# The columns of the sheet: title, run and folder of masks.
SHEET = (
    ("CAM", "evaluate_cam_cam_pretrained", "masks"),
    ("CAM+ECS", "evaluate_cam_cam_ecs_pretrained", "masks"),
    ("CCAM", "evaluate_ccam_ccam_pretrained", "masks"),
    ("CCAM+ECS", "evaluate_ccam_ccam_ecs_pretrained", "masks"),
    ("class-specific", "generate_masks_specific_37_class", "masks"),
    ("+dCRF", "generate_masks_specific_37_class", "masks_crf"),
    ("U-Net", "evaluate_unet_train_on_37CCAM_CRF", "masks"),
    ("final masks", "train_on_ensemble", "masks_final"),
)
GALLERY = (*SHEET[:-1], ("first masks", "ensemble_masks", "masks_crf"), SHEET[-1])  # the same of the page


def with_upstreams(names, among=EXPERIMENTS):
    """The experiments of these names and all that they start from, in order."""
    wanted = set(names)
    for e in reversed(among):  # what reads a run stands after it
        wanted.update(e.reads if e.name in wanted else ())
    return [e for e in among if e.name in wanted]


def chain(trimaps=True, ensemble_only=False, ablations=False, boxes=False):
    """The experiments to run, in order.

    Args:
        trimaps: whether there are any to learn from and to score against.
        ensemble_only: only what Table 4 needs: the experiments that fill it, and their upstreams.
        ablations: also those that change one thing of Table 4.
        boxes: also those that learn from boxes, for Table 5.
    """
    found = [e for e in EXPERIMENTS if trimaps or not e.ground_truth]
    further = (ABLATIONS if ablations else []) + (WITH_BOXES if boxes else [])
    if ensemble_only:
        wanted = [*(name for name, _ in cells(TABLE4)), *(e.name for e in further)]
        return with_upstreams(wanted, found + further)
    return found + further


def own(classes, background, quick=False, boxes=False):
    """The experiments that lead from own photos to masks and a segmenter; those of the tables that fit them.

    Args:
        classes: how many there are to tell apart; 0 where a photo has none or several.
        background: whether there are photos without a subject.
        quick: two rounds in place of three, and no classifier.
        boxes: the photos' boxes are used, too.
    """
    members = ["ccam pretrained"]
    if background and classes and not quick:
        members.append("ccam 37_bg")
    if classes > 1:
        members.append("class_specific_ccam specific_37_class")
    name = "_".join(word for word, given in (("quick", quick), ("boxes", boxes)) if given)  # tells the runs apart
    further = BOXES if boxes else ()
    first = Experiment(ENSEMBLE, {"name": name}, tuple(FIVE[m] for m in members), ("--members", *members, *further))
    # Growth covers the border band of Oxford's trimaps, which other photos do not have.
    flags = ("--masks", name, "--dilate", "0", *further, *(QUICK if quick else ()))
    flags += ("--scenes",) if background else ()
    last = Experiment(SEGMENTER, {"name": name}, (first.name,), flags)
    others = [e for e in EXPERIMENTS if e.script not in (ENSEMBLE, SEGMENTER)]
    return with_upstreams([last.name], [*others, first, last])


def cells(table):
    """(name of the run, cell) of each cell of a table, in the order of the list."""
    return [(e.name, cell) for e in EXPERIMENTS + ABLATIONS for cell in e.cells if cell.table == table]
