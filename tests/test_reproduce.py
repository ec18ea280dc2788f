"""reproduce.py: a line for each stage, the time left, the list; what is finished is not run again."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import experiments
import reproduce
from benchmarks import unseen
from src import InputError, agreement, data, expected_time, files, runs
from src.report import results

SCORES = {
    "evaluate_cam_cam_pretrained": {"test": {"pet_iou": 0.5}},
    "train_classifier_cat_dog": {"test": {"accuracy": 0.9}},
}
PHOTOS = SimpleNamespace(digest_of_truths="of today")
CHAIN = [e for e in experiments.chain() if e.name in (*SCORES, "train_ccam_pretrained")]


@pytest.fixture
def stages(monkeypatch, settings):
    """Names of the stages that were run; running one writes what a finished stage writes."""
    ran = []

    def run(stages, done, **_):
        for name in stages:
            if name not in done:
                ran.append(name)
                path = runs.directory(settings, name)
                path.mkdir(parents=True, exist_ok=True)
                names = ("data_root", "backbone", "weights", "image_size", "passes")
                made_with = {n: getattr(settings, n) for n in names}
                files.write_json(path / "config.json", {"settings": made_with, "constants": {}, "photos": {}})
                files.write_json(path / "summary.json", {"stage": name, "seconds": 30, "metrics": SCORES.get(name, {})})
                yield name

    monkeypatch.setattr("src.runner.run", run)
    return ran


def test_a_line_for_each_stage_with_score_and_time_left(settings, stages, capsys):
    reproduce.run_all(settings, PHOTOS, CHAIN)
    first, second, third = capsys.readouterr().out.splitlines()
    assert (
        stages
        == [e.name for e in CHAIN]
        == ["train_classifier_cat_dog", "evaluate_cam_cam_pretrained", "train_ccam_pretrained"]
    )
    left = [0.5 * sum(e.cost for e in CHAIN[k:]) * k / sum(e.cost for e in CHAIN[:k]) for k in (1, 2)]
    assert first == f"[1/3] train_classifier_cat_dog: accuracy 90.0, 0.5 min, {left[0]:.0f} min left"
    assert second == f"[2/3] evaluate_cam_cam_pretrained: IoU 50.0, 0.5 min, {left[1]:.0f} min left"
    assert third == "[3/3] train_ccam_pretrained: 0.5 min"
    reproduce.run_all(settings, PHOTOS, CHAIN)
    assert len(stages) == 3 and capsys.readouterr().out.count("finished before") == 3


def test_what_another_program_makes_otherwise_meanwhile_is_not_taken(settings, stages, monkeypatch):
    """It asks for each stage again: one of other flags would be mixed with these."""
    asked = {}
    run = reproduce.runner.run
    monkeypatch.setattr("src.runner.run", lambda names, done, **how: asked.update(how) or run(names, done, **how))
    reproduce.run_all(settings, PHOTOS, CHAIN)
    assert asked["finished"](CHAIN[0].name)
    settings.backbone = "resnet34"
    assert not asked["finished"](CHAIN[0].name)


def test_a_short_stage_does_not_upset_expected_seconds(settings, stages, capsys):
    """The first takes 30 s in place of 3: starting Python, which the long one does once as well."""
    reproduce.run_all(settings, PHOTOS, CHAIN, dict(zip([e.name for e in CHAIN], (3, 3, 600), strict=True)))
    assert "accuracy 90.0, 0.5 min, 10 min left" in capsys.readouterr().out.splitlines()[0]
    assert expected_time.left(1, 20, 1) == ", under 1 min left" and expected_time.left(0, 20, 1) == ""


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda config: config["constants"].update(EPOCHS=40), "was made with --epochs 40, not 20; use another"),
        (lambda config: config["digests"].update(weights="0"), "weights.pth has changed since .* was made"),
        (lambda config: config["digests"].update(first="0"), "was made of an earlier .*--overwrite on that stage's"),
    ],
    ids=["constants", "weights", "upstream"],
)
def test_finished_stages_that_would_come_out_otherwise_are_refused(settings, stages, tmp_path, spoil, line):
    weights, first = tmp_path / "weights.pth", tmp_path / "first"
    weights.write_text("weights")
    files.write_json(first / "summary.json", {})
    settings.weights = str(weights)
    reproduce.run_all(settings, PHOTOS, CHAIN)
    path = reproduce.directory(settings, CHAIN[2]) / "config.json"
    digests = {"weights": files.digest(weights), "first": files.digest(first / "summary.json")}
    config = files.read_json(path) | {"digests": digests, "upstreams": {"first": str(first)}}
    files.write_json(path, config)
    reproduce.run_all(settings, PHOTOS, CHAIN)
    spoil(config)
    files.write_json(path, config)
    with pytest.raises(InputError, match=line):
        reproduce.run_all(settings, PHOTOS, CHAIN)


def test_an_upstream_of_an_upstream_made_anew_makes_the_rest_old(settings, tmp_path):
    paths, read = [tmp_path / name for name in ("first", "second", "third")], {}
    for path in paths:
        path.mkdir()
        digests = {name: files.digest(tmp_path / name / "summary.json") for name in read}
        config = {"settings": {}, "constants": {}, "photos": {}, "upstreams": read, "digests": digests}
        files.write_json(path / "config.json", config)
        files.write_json(path / "summary.json", {"stage": path.name})
        read = {path.name: str(path)}
    agreement.must_agree(settings, paths[2], config, ())
    files.write_json(paths[0] / "summary.json", {"stage": "first, again"})
    with pytest.raises(InputError, match="second was made of an earlier .*first; --overwrite"):
        agreement.must_agree(settings, paths[2], config, ())


def test_means_leave_out_runs_of_other_settings(settings, stages, capsys):
    reproduce.run_all(settings, PHOTOS, CHAIN)
    settings.seed, settings.image_size = 1, 64
    reproduce.run_all(settings, PHOTOS, CHAIN)
    there = results.fitting(settings, PHOTOS, reproduce.OF_A_CHAIN, {})
    assert len(there["seed1"]) == len(CHAIN) and not there["seed0"]
    assert capsys.readouterr().out.count("seed0 was made with --image-size 48, not 64; use another --runs-root") == 3


def test_overwrite_starts_all_stages_anew(settings, stages):
    reproduce.run_all(settings, PHOTOS, CHAIN)
    mask = reproduce.directory(settings, CHAIN[2]) / "masks" / "a.png"
    mask.parent.mkdir()
    mask.touch()
    settings.overwrite = True
    reproduce.run_all(settings, PHOTOS, CHAIN)
    assert stages == 2 * [e.name for e in CHAIN] and not mask.exists()


def test_the_list_says_what_is_there(settings, stages):
    reproduce.run_all(settings, PHOTOS, CHAIN[1:2])
    reproduce.directory(settings, CHAIN[2]).mkdir(parents=True)
    rows = reproduce.stages(settings, PHOTOS, CHAIN).strip().splitlines()[2:]
    assert rows == [
        "| train_classifier_cat_dog | missing |  |  |",
        "| evaluate_cam_cam_pretrained | finished | IoU 50.0 | 0.5 |",
        "| train_ccam_pretrained | unfinished |  |  |",
    ]
    settings.backbone = "resnet34"
    assert "| finished |" not in reproduce.stages(settings, PHOTOS, CHAIN)
    assert "| made otherwise | IoU 50.0 | 0.5 |" in reproduce.stages(settings, PHOTOS, CHAIN)


def test_the_costs_name_every_script():
    assert all(experiment.cost > 0 for experiment in experiments.chain(ablations=True))


def test_what_is_never_to_be_had_is_refused_before_any_stage(script, data_root):
    (data_root / "oxford-iiit-pet" / "annotations" / "test.txt").write_text("")
    code, _, err = script("reproduce.py", "--quick", "--ablations")
    assert code == 2 and "for the published tables, not own photos" in err
    code, _, err = script("reproduce.py", "--test-only", "--skip-bad-photos")
    assert code == 2 and "--test-only" in err and "has no test photo" in err
    assert not list(script.runs_root.glob("*/seed0"))


def test_a_chain_without_a_breed_trains_on_the_others_and_is_tested_on_it(settings, monkeypatch):
    started = mock.create_autospec(reproduce.run_all)
    monkeypatch.setattr(reproduce, "run_all", started)
    photos = data.load(settings, pixels=False)
    left_out = photos.breeds == 0
    unseen.run(settings, photos, "breeds", left_out)
    own, known, chain = started.call_args.args
    assert sorted(known.names[i] for i in known.test) == sorted(
        photos.names[i] for i in np.flatnonzero(left_out) if i in photos.test
    )
    assert len(known.trainval) == np.sum(~left_out[photos.trainval]) and own.runs_root.name == "unseen_breeds"
    assert chain[-1].name == "train_on_ensemble_gt"
