"""The whole chain on a tiny drawn data root: without trimaps, repeatable, resumable, nothing chosen on test.

At the end every training step and every predictor runs on PyTorch's meta device, where a tensor left on the CPU is an
error as on a GPU. Nothing is computed there. Optimisers (fused ones have no meta kernel) and the dense CRF's lattice
(neither has unique_consecutive) are left out; the CRF runs on the CPU.
"""

import csv
import hashlib
import importlib.metadata
import json
import platform
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import experiments
from conftest import CHAIN, ONE_SCALE, TEST, TRAINVAL, run_stage
from src import InputError, checkpoints, compute, data, records, runs, training
from src.methods import class_evidence
from src.models import segmenters
from src.postprocessing import finishing

DIGESTS = Path(__file__).with_name("digests.json")
BREEDS = experiments.with_upstreams(["train_on_37CCAM"])  # one short branch: CCAMs, their masks, the U-Net on them


def digests(folder):
    """SHA-256 of what each checkpoint's tensors and each folder's masks hold, of a run directory."""
    found = {}
    for path in folder.rglob("checkpoint.pt"):
        state = checkpoints.read(path)["state"]
        found[path] = b"".join(name.encode() + value.numpy().tobytes() for name, value in state.items())
    for path in folder.rglob("masks*"):
        if path.is_dir():
            found[path] = b"".join(mask.name.encode() + mask.read_bytes() for mask in sorted(path.iterdir()))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(content).hexdigest()
        for path, content in sorted(found.items())
    }


def this_machine():
    """What the bytes of a run depend on beside the code: processor and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    instructions = torch.backends.cpu.get_cpu_capability()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision", "numpy", "pillow")]
    return ", ".join([model, instructions, *versions])


@pytest.mark.parametrize("name", CHAIN)
def test_stage(chain_run, chain_script, name, request):
    """Every stage, in order: only image labels train, so all but the bounds do their work with the trimaps gone."""
    experiment, folder = CHAIN[name], chain_run(name)
    config, summary = (json.loads((folder / f"{file}.json").read_text()) for file in ("config", "summary"))
    assert tuple(config["upstreams"]) == experiment.reads, "the list of experiments says otherwise"
    assert summary["stage"] == name and summary["seconds"] > 0
    made = digests(folder)
    root = chain_script.data_root / "oxford-iiit-pet"
    photos = sorted((root / "images").iterdir())
    trainval = {line.split()[0] for line in (root / "annotations" / "trainval.txt").read_text().splitlines()}
    learnt = [photo for photo in photos if photo.stem in trainval]
    for written in [folder / path for path in made if not path.endswith(".pt")]:
        assert (written.parent / "preview.png").is_file()
        shown = learnt if written.parent.name.startswith("round") else photos
        for photo, mask in zip(shown, sorted(written.iterdir()), strict=True):
            with Image.open(mask) as labels, Image.open(photo) as image:
                assert mask.stem == photo.stem and labels.size == image.size and labels.mode == "P"
                assert set(np.unique(labels)) <= {0, 1, 255}
    for table in folder.rglob("metrics.csv"):
        rows = list(csv.DictReader(table.open()))
        assert len(rows) == 1 and np.isfinite(float(rows[0]["loss"])) and (table.parent / "curves.png").is_file()
    assert made and not list(folder.rglob("resume.pt")) and not list(folder.rglob("scratch*"))
    assert any(folder.rglob("metrics.csv")) == Path(experiment.script).stem.startswith("train")

    recorded = json.loads(DIGESTS.read_text())
    if request.config.getoption("--record-digests"):
        recorded.setdefault(this_machine(), {})[name] = made
        DIGESTS.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    elif this_machine() in recorded:
        assert made == recorded[this_machine()].get(name), "weights or masks are not byte for byte what they were"


def test_digests_are_recorded_for_this_machine():
    """Bytes are compared in test_stage, where this processor and these versions have been recorded."""
    recorded = json.loads(DIGESTS.read_text())
    if this_machine() not in recorded:
        pytest.skip(f"no digests of {this_machine()}; pytest tests/test_chain.py --record-digests adds them")
    assert set(recorded[this_machine()]) == set(CHAIN)


def test_same_seed_same_bytes_another_seed_others(chain_run, chain_script, tmp_path):
    before = {experiment.name: digests(chain_run(experiment.name)) for experiment in BREEDS}
    chain_script.runs_root = tmp_path / "runs"
    for experiment in BREEDS:
        assert digests(run_stage(chain_script, experiment)) == before[experiment.name]
        other = digests(run_stage(chain_script, experiment, seed=1))
        assert other.keys() == before[experiment.name].keys()
        assert not set(other.values()) & set(before[experiment.name].values())


def test_test_photos_change_nothing_that_is_learned(chain_run, chain_script, data_root, tmp_path):
    """Blacking out every test photo leaves checkpoints and trainval masks as they are."""
    pets = data_root / "oxford-iiit-pet"
    test = [line.split()[0] for line in (pets / "annotations" / "test.txt").read_text().splitlines()]
    for name in test:
        Image.new("RGB", (90, 70)).save(pets / "images" / f"{name}.jpg")
        Image.new("L", (90, 70), 2).save(pets / "annotations" / "trimaps" / f"{name}.png")
    for experiment in experiments.with_upstreams(["train_on_37CCAM", "train_on_ensemble"]):
        chain_script.data_root, chain_script.runs_root = data_root, tmp_path / "runs"
        folder = run_stage(chain_script, experiment)
        before = chain_run(experiment.name)
        learned = [
            path for path in folder.rglob("*") if path.name == "checkpoint.pt" or path.parent.name[:5] == "masks"
        ]
        learned = [path for path in learned if path.stem not in test]
        assert learned
        for path in learned:
            assert path.read_bytes() == (before / path.relative_to(folder)).read_bytes(), path


def test_both_readings_are_looked_for_among_the_masks_of_a_run(chain_run, chain_script, drawn):
    folders = [chain_run(name) for name in ("train_on_ensemble", "train_on_ensemble_gt")]
    chain_script.runs_root, chain_script.data_root = folders[0].parents[1], drawn
    code, out, err = chain_script("benchmarks/readings.py", "--at-least", "0", "101")
    assert code == 0, err
    least, impossible = ([float(cell) for cell in line.split("|")[2:4]] for line in out.splitlines()[-3:-1])
    scores = records.summary_of(folders[1])["metrics"]
    known = max(scores[key]["pet_iou_border_ignored"] for key in ("test", "test_crf"))
    assert 100 * known - 0.1 <= least[1] <= 100 and 0 < least[0] <= 100 and np.isnan(impossible).all()
    code, _, err = chain_script("benchmarks/readings.py", "--breeds", "none of them")
    assert code == 2 and "no test photo with a trimap of none of them" in err and len(err.splitlines()) == 1


def test_the_final_segmenter_makes_the_same_masks_again(chain_run, chain_script, chain_root):
    """What train_on_ensemble.py read its segmenter with travels in the checkpoint."""
    final = chain_run("train_on_ensemble")
    code, _, err = chain_script("train_unet/evaluate_unet.py", "--model", "train_on_ensemble", "--no-amp")
    assert code == 0, err
    again = digests(chain_root / "runs" / "evaluate_unet_train_on_ensemble" / "seed0")
    assert set(again) == {"masks", "masks_crf", "masks_final"}
    assert all(digests(final)[folder] == digest for folder, digest in again.items())


def test_interrupted_training_goes_on_as_if_it_had_not_stopped(script, monkeypatch):
    command = ["train_class_specific_ccam/train_ccam_on_specific_cat_dog.py", "--epochs", "3"]
    folder = script.runs_root / "train_ccam_on_specific_cat_dog" / "seed0"
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


def test_a_loss_that_is_not_finite_stops_with_its_epoch(settings):
    run = runs.Run(settings)
    model = torch.nn.Linear(1, 1)
    bad = lambda network, batch, generator: {"loss": network.weight.sum() * float("nan")}  # noqa: E731
    with pytest.raises(InputError, match="loss became nan in epoch 1"):
        training.fit(run, model, torch.optim.SGD(model.parameters(), 0.1), lambda g: [[0], [1]], bad, epochs=2)
    assert run.resume() is None


def test_scores_come_with_trimaps(script):
    code, out, err = script("train_classifier/evaluate_cam.py", *ONE_SCALE)
    assert code == 0, err
    scores = records.summary_of(script.runs_root / "evaluate_cam_cam_pretrained" / "seed0")["metrics"]
    assert set(scores) == {"test", "trainval"}
    assert scores["test"]["photos"] == TEST and 0 <= scores["test"]["pet_iou"] <= 1
    assert {"pet_dice", "pet_iou_border_ignored", "dataset_iou", "miou", "pet_iou_ci95"} <= set(scores["test"])
    assert "pet_iou" in out


def test_early_rounds_may_be_shorter(chain_run, chain_script, monkeypatch, tmp_path):
    def train(*_, epochs, **__):
        seen.append(epochs)
        return segmenters.untrained("unet", "").eval()

    seen = []
    shutil.copytree(chain_run("ensemble_masks").parent, tmp_path / "runs" / "ensemble_masks")
    monkeypatch.setattr(training, "train_segmenter", train)
    chain_script.runs_root = tmp_path / "runs"
    flags = ("--segmenter", "unet", "--rounds", "3", "--epochs", "8", "--early", "0.5", "--scales", "1.0")
    code, _, err = chain_script("train_unet/train_on_ensemble.py", *flags)
    assert code == 0 and seen == [4, 4, 8], err


def test_scenes_train_as_empty_masks(settings):
    """Two segmenters that learn "all subject" of the same photos: the one that also saw the scenes leaves them out."""
    found = {}
    for scenes in (False, True):
        settings.script = f"scenes_{scenes}.py"
        photos, run = data.load(settings, background=scenes), runs.Run(settings)
        network = training.train_segmenter(
            run, photos, lambda i: np.ones((48, 48), np.uint8), segmenter="backbone_unet", size=48, epochs=6,
            batch_size=4, lr=0.003, reading=finishing.reading((1.0,)),
        )  # fmt: skip
        photos = data.load(settings, background=True)
        found[scenes] = segmenters.predictor(settings, photos, [network], 48)(photos.background).mean()
    assert found[True] < 0.5 < found[False]


# --- on another device ---

# Each script once, and each method that a script can evaluate.
ONE_OF_EACH = {(e.script, e.variant.get("method")): e for e in CHAIN.values()}.values()


@pytest.fixture
def meta(monkeypatch):
    """Make the meta device the one that everything is computed on; arrays that come back from it are zeros."""

    def to_numpy(tensor):
        assert tensor.is_meta
        return torch.empty_like(tensor, device="cpu").zero_().numpy()

    def one_step(run, model, optimizer, make_batches, loss_of, **_):
        generator = torch.Generator().manual_seed(0)
        model.train()
        losses = training.backward(run.settings, model, optimizer, loss_of, make_batches(generator)[0], generator)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients and all(
            value.is_meta for value in [*losses.values(), *gradients, *model.state_dict().values()]
        )
        steps.append(len(gradients))
        model.eval()

    steps = []
    monkeypatch.setattr(compute, "device", lambda: torch.device("meta"))
    monkeypatch.setattr(compute, "to_numpy", to_numpy)
    for context in ("autocast", "full_precision"):  # which PyTorch does not have for this device
        monkeypatch.setattr(compute, context, lambda *_: nullcontext())
    monkeypatch.setattr(training, "fit", one_step)
    for name in ("SGD", "AdamW"):
        optimizer = getattr(torch.optim, name)
        monkeypatch.setattr(torch.optim, name, lambda *a, cls=optimizer, fused=None, **k: cls(*a, **k))
    monkeypatch.setattr(checkpoints, "write", lambda path, value: path.touch())
    return steps


def test_threads_work_on_the_gpu_of_their_process(monkeypatch):
    """CUDA's current device is each thread's own: without it all processes of torchrun would share the first GPU."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with compute.threads(2) as pool:
        pool.submit(int).result()
    assert chosen and set(chosen) == {torch.device("cuda", 3)}


@pytest.mark.parametrize("experiment", ONE_OF_EACH, ids=lambda experiment: experiment.name)
def test_stage_on_another_device(chain_run, chain_script, drawn, experiment, tmp_path, request):
    for upstream in experiment.reads:
        shutil.copytree(chain_run(upstream).parent, tmp_path / "runs" / upstream)
    steps = request.getfixturevalue("meta")  # only now: upstreams are computed
    chain_script.runs_root = tmp_path / "runs"
    if experiment.ground_truth:
        chain_script.data_root = drawn
    folder = run_stage(chain_script, experiment)
    assert bool(steps) == (folder / "checkpoint.pt").exists()
    assert steps or len(list((folder / "masks").iterdir())) == TRAINVAL + TEST


def test_pretraining_on_another_device(script, meta):
    small = ("--drawings", "32", "--held-out", "8", "--size", "32")
    code, _, err = script("train_classifier/pretrain_on_drawings.py", *small)
    assert code == 0, err
    assert len(meta) == 1


def test_class_evidence_on_another_device(settings, meta, monkeypatch):
    places = np.ones(1000), np.arange(1000) < 9  # everywhere, and in the masks
    sums = iter([places, np.array([1.0, 1.0, 1.0, -1.0])])
    monkeypatch.setattr(class_evidence, "sum_over", lambda index, sums_of: (sums_of(index), next(sums))[1])
    photos, run = data.load(settings), runs.Run(settings)
    predict = class_evidence.weigh(run, photos, lambda index: np.zeros((len(index), 48, 48)), weight=0.5)
    assert predict(photos.test).shape == (len(photos.test), 48, 48)


def test_a_tensor_left_on_the_cpu_is_an_error(meta):
    with pytest.raises(RuntimeError):
        compute.to_device(np.ones(3)) + torch.ones(3)
