"""Every training step and every predictor on PyTorch's meta device: a tensor left on the CPU is an error as on a GPU.

Nothing is computed there. Optimisers (fused ones have no meta kernel) and the dense CRF's lattice (neither has
unique_consecutive) are left out; the CRF runs on the CPU here.
"""

import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from conftest import CHAIN, TEST, TRAINVAL, run_stage
from src import checkpoints, compute, training

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


def test_a_tensor_left_on_the_cpu_is_an_error(meta):
    with pytest.raises(RuntimeError):
        compute.to_device(np.ones(3)) + torch.ones(3)
