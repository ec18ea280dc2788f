"""Every script: its form, its help, and one clear line with exit code 2 for what a user gets wrong."""

import ast
import json
import re
import subprocess
import sys

import pytest
import torch

from benchmarks import work
from conftest import ROOT, SCRIPTS, TEST, TINY
from src import checkpoints, cli, compute, runs
from src.models import segmenters

PATH_LINE = "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lets src be imported from any directory"


@pytest.mark.parametrize("path", SCRIPTS)
def test_form(path):
    text = (ROOT / path).read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 65, "an experiment is read in one screen"
    doc = ast.get_docstring(tree)
    assert all(word in doc for word in ("Run:", "Reads:", "Writes:")) and f"python {path}" in doc
    assert PATH_LINE in text.splitlines()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            name = node.targets[0].id
            ast.literal_eval(node.value)
            used = len(re.findall(rf"\b{name}\b", text)) > 1 or name in cli.constants(vars(cli))
            assert used, f"{name} is a constant that nobody reads"
            line = text.splitlines()[node.end_lineno - 1]
            assert "  # " in line, f"{name} has no comment"


@pytest.mark.parametrize("path", [*SCRIPTS, "reproduce.py"])
def test_help_from_any_directory(script, path):
    code, out, _ = script(path, "--help", tiny=False)
    assert code == 0
    for name in cli.constants(vars(cli)):
        assert "--" + name.lower().replace("_", "-") in out


def test_help_as_a_user_types_it():
    command = [sys.executable, str(ROOT / "train_ccam" / "train_ccam.py"), "--help"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--alpha float" in done.stdout and "(0.8)" in done.stdout


@pytest.mark.parametrize(
    "path, flags, message",
    [
        ("train_ccam/train_ccam.py", ["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        ("train_ccam/train_ccam.py", ["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        ("train_ccam/train_ccam.py", ["--amp=false"], "argument --amp/--no-amp: ignored explicit argument 'false'"),
        ("train_ccam/train_ccam.py", ["--image-size", "3"], "--image-size: at least 48"),
        ("train_unet/train_on_ensemble.py", ["--rounds", "0"], "--rounds: at least 1"),
        ("train_unet/train_on_ensemble.py", ["--evidence", "-1"], "--evidence: at least 0"),
        ("train_unet/train_on_ensemble.py", ["--dilate", "-0.1"], "--dilate: at least 0"),
        ("train_unet/train_on_37CCAM.py", ["--size", "100"], "--size: a multiple of 16"),
        ("train_ccam/train_ccam.py", ["--backbone", "vgg"], "unknown backbone 'vgg'; one of resnet18"),
        ("train_ccam/train_ccam.py", ["--init", "dog"], "unknown init 'dog'; one of pretrained"),
        ("train_ccam/train_ccam.py", ["--weights", "/no/such.pth"], "no such weights file: /no/such.pth"),
        ("train_ccam/train_ccam.py", ["--data-root", "/no/where"], "no data root /no/where"),
        ("train_ccam/evaluate_ccam.py", ["--method", "gradcam"], "unknown method 'gradcam'; one of ccam, ccam_ecs"),
        ("train_ccam/evaluate_ccam.py", ["--crf", "other"], "unknown crf 'other'; one of lattice, pydensecrf"),
        ("train_unet/train_on_gt.py", ["--segmenter", "wnet"], "unknown segmenter 'wnet'; one of unet"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(script, path, flags, message):
    words = [*TINY, "--data-root", script.data_root, "--runs-root", script.runs_root, *flags]
    code, _, err = script(path, *words, tiny=False)
    assert code == 2
    assert message in err and len(err.splitlines()) == 1
    assert not list(script.runs_root.glob("train_*")), "nothing is left half-written"


def test_missing_upstream_names_the_command_that_makes_it(script):
    code, _, err = script("train_ccam/train_ccam.py", "--init", "cat_dog", "--seed", "3")
    assert code == 2
    assert f"is missing; first run: python {runs.from_here('train_classifier/train_classifier_cat_dog.py')} " in err
    assert f"--runs-root {script.runs_root}" in err and "--seed 3" in err and "--weights random" in err
    assert not (script.runs_root / "train_ccam_cat_dog").exists()


def test_weights_of_another_network_or_of_none(script, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    words = [*TINY, "--data-root", script.data_root, "--runs-root", script.runs_root]
    code, _, err = script("train_ccam/train_ccam.py", *words, "--weights", tmp_path / "other.pth", tiny=False)
    assert code == 2 and "other.pth does not hold weights of resnet18" in err and len(err.splitlines()) == 1
    (tmp_path / "text.pth").write_text("hello")
    code, _, err = script("train_ccam/train_ccam.py", *words, "--weights", tmp_path / "text.pth", tiny=False)
    assert code == 2 and "text.pth is not a readable checkpoint" in err and len(err.splitlines()) == 1


def test_finished_run_is_refused_and_a_chain_must_agree(script):
    train = ["train_ccam/train_ccam.py", "--epochs", "1"]
    assert script(*train)[0] == 0
    code, _, err = script(*train)
    assert code == 2 and "is finished; --overwrite runs it anew" in err
    assert script(*train, "--overwrite")[0] == 0
    summary = json.loads((script.runs_root / "train_ccam_pretrained" / "seed0" / "summary.json").read_text())
    assert summary["stage"] == "train_ccam_pretrained" and summary["seed"] == 0 and summary["seconds"] > 0
    words = ["--data-root", script.data_root, "--runs-root", script.runs_root, "--backbone", "resnet18"]
    code, _, err = script(
        "train_ccam/evaluate_ccam.py", *words, "--weights", "random", "--image-size", "64", tiny=False
    )
    assert code == 2 and "was made with --image-size 48, not 64" in err


def test_an_upstream_that_was_made_anew_makes_the_rest_old(script):
    """A later stage does not go on from a run whose own upstream is another now."""
    train, masks = ["train_ccam/train_ccam.py", "--epochs", "1"], ["train_ccam/ensemble_masks.py", "--scales", "1.0"]
    assert script(*train)[0] == 0
    summary = script.runs_root / "train_ccam_pretrained" / "seed0" / "summary.json"
    before = summary.read_bytes()
    for words in (masks, [*train, "--alpha", "0.5", "--overwrite"]):
        assert script(*words)[0] == 0
    summary.write_bytes(before)  # two of the same seconds are alike to the byte
    code, _, err = script("train_unet/train_on_ensemble.py", "--epochs", "1")
    assert code == 2 and "was made of an earlier" in err and "--overwrite on that stage's command" in err


def test_passes_scale_every_training_and_test_only_makes_fewer_masks(script):
    assert script("train_ccam/train_ccam.py", "--epochs", "4", "--passes", "0.5")[0] == 0
    folder = script.runs_root / "train_ccam_pretrained" / "seed0"
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 2
    assert script("train_ccam/evaluate_ccam.py", "--scales", "1.0", "--test-only", "--passes", "0.5")[0] == 0
    folder = script.runs_root / "evaluate_ccam_ccam_pretrained" / "seed0"
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["metrics"]) == ["test"] and summary["metrics"]["test"]["photos"] == TEST
    assert len(list((folder / "masks").iterdir())) == TEST
    assert summary["precision"] in ("fp32", "bf16") and summary["device"] and "commit" in summary


def test_corrupt_photo_stops_training_by_name_before_anything_is_written(script):
    photo = sorted((script.data_root / "oxford-iiit-pet" / "images").iterdir())[2]
    photo.write_bytes(b"no photo")
    code, _, err = script("train_classifier/train_classifier_37_class.py", "--epochs", "1")
    assert code == 2 and photo.name in err and "1 photo of 20" in err and len(err.splitlines()) == 1
    assert not (script.runs_root / "train_classifier_37_class").exists()
    code, out, _ = script("train_classifier/train_classifier_37_class.py", "--epochs", "1", "--skip-bad-photos")
    assert code == 0 and f"left out 1 photo of 20 unreadable: {photo}" in out


def test_commands_are_copied_whole(settings):
    settings.seed, settings.skip_bad_photos = 4, True
    text = runs.command(settings, "train_ccam/evaluate_ccam.py", method="ccam", init="37_bg")
    assert text.startswith(
        f"python {runs.from_here('train_ccam/evaluate_ccam.py')} --method ccam --init 37_bg --data-root "
    )
    assert text.endswith("--image-size 48 --no-amp --skip-bad-photos")
    assert runs.stage_name("train_ccam/evaluate_ccam.py", method="ccam", init="37_bg") == "evaluate_ccam_ccam_37_bg"


@pytest.mark.parametrize(
    "method, options, line",
    [
        ("cam_ecs", ["theta=high"], "option 'theta=high': 'high' is not a number"),
        ("cam", ["delta=0.5"], "unknown option 'delta'"),
        ("ccam", [], "unknown method 'ccam'; one of cam, cam_ecs, layercam"),
        ("ensemble", [], "unknown method 'ensemble'"),
    ],
)
def test_methods_and_their_options(script, method, options, line):
    words = ["--options", *options] if options else []
    code, _, err = script("train_classifier/evaluate_cam.py", "--method", method, *words)
    assert code == 2 and line in err and len(err.splitlines()) == 1
    assert not list(script.runs_root.glob("evaluate_*"))


@pytest.mark.parametrize("member", ["foo pretrained", "ccam foo", "specific 37_class"])
def test_unknown_members_of_the_ensemble(script, member):
    code, _, err = script("train_ccam/ensemble_masks.py", "--members", member)
    assert code == 2 and "unknown" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("name", work.ROWS)
def test_every_kind_of_work_runs_both_ways(name, monkeypatch):
    for constant, value in {"NETWORK": "resnet18", "SIDE": 32, "BATCH": 2}.items():
        monkeypatch.setattr(work, constant, value)
    way = work.ROWS[name]()
    for plain in (False, True):
        step, count = way(plain=plain)
        step()
        assert count >= 1


def test_benchmark_times_both_ways(tmp_path):
    words = ["--work", "overhead", "--side", "32", "--batch", "2", "--seconds", "0.1", "--json"]
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks/run.py"), *words, str(tmp_path / "rates.json")],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rates.json").read_text())
    assert [row["work"] for row in rows] == ["overhead"]
    assert all(set(row) == {"work", "plain", "ours", "ratio", "of_limit", "peak_mb"} for row in rows)
    assert all(row["ratio"] == pytest.approx(row["ours"] / row["plain"]) for row in rows)
    assert all(row["peak_mb"] > (0 if torch.cuda.is_available() else 50) for row in rows)  # what a GPU holds alone


def test_frozen_stages_of_a_segmenter_stay_as_they_are(script, settings):
    command = ["train_unet/train_on_ensemble_gt.py", "--frozen-stages", "2", "--epochs", "1"]
    assert script(*command)[0] == 0
    compute.seed_everything(settings.seed)
    before = segmenters.initial("backbone_unet", settings).state_dict()
    after = checkpoints.read(script.runs_root / "train_on_ensemble_gt" / "seed0" / "checkpoint.pt")["state"]
    learnt = {name.split(".")[2] for name in before if "stages" in name and not torch.equal(before[name], after[name])}
    assert learnt == {"2", "3", "4"}
