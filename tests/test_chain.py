"""The whole chain on a tiny drawn data root: without trimaps, repeatable, resumable, nothing chosen on test."""

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import reproduce
from src import runs, training
from src.errors import InputError

ONE_SCALE = ["--scales", "1.0"]
FLAGS = {"train_on_ensemble": ["--epochs", "1", "--rounds", "2", "--size", "48", *ONE_SCALE],
         "train": ["--epochs", "1"], "evaluate_cam": ONE_SCALE, "evaluate_ccam": ONE_SCALE, "generate": ONE_SCALE,
         "ensemble_masks": ONE_SCALE, "evaluate_unet": []}  # fmt: skip


def run_chain(script, settings, only=None):
    """Run the stages of reproduce.py, shrunk; returns their directories."""
    settings.runs_root, settings.data_root = script.runs_root, script.data_root
    made = []
    for path, variant, flags, _ in reproduce.stages(settings, trimaps=False):
        if only and not only(path, variant):
            continue
        stem = path.rpartition("/")[2]
        words = [word for name, value in variant.items() for word in (f"--{name}", value)] + flags
        shrunk = next(value for key, value in FLAGS.items() if stem.startswith(key))
        code, _, err = script(path, *words, *shrunk, "--seed", settings.seed)
        assert code == 0, err
        made.append(runs.directory(settings, path, **variant))
    return made


def digests(folders):
    files = [
        f for folder in folders for f in sorted(folder.rglob("*")) if f.suffix == ".png" and "masks" in f.parent.name
    ]
    files += [folder / "checkpoint.pt" for folder in folders if (folder / "checkpoint.pt").exists()]
    return {str(f.relative_to(folders[0].parents[1])): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_whole_chain_without_trimaps(script, settings):
    """Only image labels train: every stage but train_on_gt does its work with the trimaps gone."""
    shutil.rmtree(script.data_root / "oxford-iiit-pet" / "annotations" / "trimaps")
    folders = run_chain(script, settings)
    assert len(folders) == 4 + 5 + 20 + 4 + 4 + 2
    for folder in folders:
        assert (folder / "summary.json").is_file() and (folder / "config.json").is_file(), folder
        makes_masks = any(word in folder.parent.name for word in ("evaluate", "generate", "ensemble"))
        if makes_masks:
            assert len(list((folder / "masks").iterdir())) == 20 and (folder / "preview.png").is_file()
        for trained in [folder] if not makes_masks else folder.glob("round*"):
            assert (trained / "checkpoint.pt").is_file() and (trained / "curves.png").is_file()
            rows = list(csv.DictReader((trained / "metrics.csv").open()))
            assert len(rows) == 1 and float(rows[0]["loss"]) == float(rows[0]["loss"])
            assert not (trained / "resume.pt").exists()
    crf = next(f for f in folders if f.parent.name == "generate_masks_specific_37_class") / "masks_crf"
    for mask in crf.iterdir():
        photo = next((script.data_root / "oxford-iiit-pet" / "images").glob(f"{mask.stem}.*"))
        with Image.open(mask) as labels, Image.open(photo) as image:
            assert labels.size == image.size and labels.mode == "P"
            assert set(np.unique(np.array(labels))) <= {0, 1, 255}
    config = json.loads((folders[-1] / "config.json").read_text())
    assert list(config["upstreams"]) == ["ensemble_masks"]


def specific(path, variant):
    """One short branch of the chain: the breeds' CCAMs, their masks, the U-Net on them."""
    breeds = "class_specific" in path and "cat_dog" not in path and variant.get("model") != "cat_dog"
    return breeds or path.endswith("train_on_37CCAM.py")


def test_same_seed_same_bytes_another_seed_others(script, settings):
    first = digests(run_chain(script, settings, specific))
    shutil.rmtree(script.runs_root)
    assert digests(run_chain(script, settings, specific)) == first and len(first) == 2 * 20 + 2
    settings.seed = 1
    other = digests(run_chain(script, settings, specific))
    same = [name for name in first if first[name] == other[name.replace("seed0", "seed1")]]
    assert not [name for name in same if name.endswith(".pt")] and len(same) < 20


def test_test_photos_change_nothing_that_is_learned(script, settings):
    """Blacking out every test photo and its trimap leaves checkpoints and trainval masks as they are."""
    chain = lambda path, variant: specific(path, variant) or reproduce.needed(path, variant)  # noqa: E731
    before = digests(run_chain(script, settings, chain))
    pets = script.data_root / "oxford-iiit-pet"
    test = [line.split()[0] for line in (pets / "annotations" / "test.txt").read_text().splitlines()]
    for name in test:
        Image.new("RGB", (90, 70)).save(pets / "images" / f"{name}.jpg")
        Image.new("L", (90, 70), 2).save(pets / "annotations" / "trimaps" / f"{name}.png")
    shutil.rmtree(script.runs_root)
    after = digests(run_chain(script, settings, chain))
    learned = [name for name in before if not any(name.endswith(f"{t}.png") for t in test)]
    folders = 2 + 2 + 2 + 2 + 3  # of one CCAM, the breeds' CCAMs, the ensemble, its first round, and its last
    assert len(learned) == folders * 12 + 9 and all(before[name] == after[name] for name in learned)


def test_interrupted_training_goes_on_as_if_it_had_not_stopped(script, monkeypatch):
    command = ["train_class_specific_ccam/train_ccam_on_cat_dog.py", "--epochs", "3"]
    folder = script.runs_root / "train_ccam_on_cat_dog" / "seed0"
    assert script(*command)[0] == 0
    unbroken = (folder / "checkpoint.pt").read_bytes()
    keep = runs.Run.keep

    def pull_the_plug(run, state):
        keep(run, state)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs.Run, "keep", pull_the_plug)
    code, _, err = script(*command, "--overwrite")
    assert code == 130 and "continues this run" in err and not (folder / "summary.json").exists()
    monkeypatch.setattr(runs.Run, "keep", keep)
    code, _, err = script(command[0], "--epochs", "4")
    assert code == 2 and "unfinished run with other constants" in err
    code, out, _ = script(*command)
    assert code == 0 and "resuming after epoch 2" in out
    assert (folder / "checkpoint.pt").read_bytes() == unbroken
    assert [row["epoch"] for row in csv.DictReader((folder / "metrics.csv").open())] == ["1", "2", "3"]


def test_a_loss_that_is_not_finite_stops_with_its_epoch(settings, tmp_path):
    run = runs.Run(settings)
    model = torch.nn.Linear(1, 1)
    bad = lambda batch, generator: {"loss": model.weight.sum() * float("nan")}  # noqa: E731
    with pytest.raises(InputError, match="loss became nan in epoch 1"):
        training.fit(run, model, torch.optim.SGD(model.parameters(), 0.1), lambda g: [0, 1], bad, 2)
    assert run.resume() is None


def test_the_final_segmenter_makes_masks_of_other_photos(script, settings, drawn):
    """What train_on_ensemble.py learned is used by evaluate_unet.py with the same constants, for the same masks."""
    settings.runs_root, settings.data_root = script.runs_root, script.data_root
    final = run_chain(script, settings, reproduce.needed)[-1]
    grow = runs.read_json(final / "config.json")["constants"]["GROW"]
    words = ["--model", "train_on_ensemble", "--refine", "--grow", grow, "--bilateral-srgb", 5, *ONE_SCALE]
    code, _, err = script("train_unet/evaluate_unet.py", *words)
    assert code == 0, err
    again = script.runs_root / "evaluate_unet_train_on_ensemble" / "seed0" / "masks_crf"
    ours = {path.name: path.read_bytes() for path in (final / "masks_final").iterdir()}
    assert {path.name: path.read_bytes() for path in again.iterdir()} == ours and len(ours) == 20


def test_scores_come_with_trimaps(script):
    code, out, err = script("train_classifier/evaluate_cam.py", "--scales", "1.0")
    assert code == 0, err
    metrics = json.loads((script.runs_root / "evaluate_cam_pretrained" / "seed0" / "summary.json").read_text())[
        "metrics"
    ]
    assert set(metrics) == {"test", "test_ecs", "trainval", "trainval_ecs", "oracle"}
    assert metrics["test"]["photos"] == 8 and 0 <= metrics["test"]["pet_iou"] <= 1
    assert {"pet_dice", "pet_iou_border_ignored", "dataset_iou", "miou", "pet_iou_ci95"} <= set(metrics["test"])
    assert "pet_iou" in out
