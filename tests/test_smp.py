"""--segmenter smp:ARCHITECTURE:ENCODER: trained and read by the scripts, and one line for what cannot be."""

import sys

import numpy as np
import pytest
import torch

from src import InputError, checkpoints, compute, data
from src.models import segmenters

NAME = "smp:Unet:resnet18"


@pytest.fixture
def smp():
    reason = "segmentation_models_pytorch is not installed (requirements-optional.txt)"
    return pytest.importorskip("segmentation_models_pytorch", reason=reason)


def test_scripts_go_through_and_the_checkpoint_builds_it_anew(smp, script, settings):
    code, _, err = script("train_unet/train_on_gt.py", "--segmenter", NAME, "--size", "48", "--epochs", "2")
    assert code == 0, err
    code, _, err = script("train_unet/evaluate_unet.py", "--model", "train_on_gt")
    assert code == 0, err
    path = script.runs_root / "train_on_gt" / "seed0" / "checkpoint.pt"
    assert checkpoints.read(path)["segmenter"] == NAME
    photos, (network, size, _) = data.load(settings), segmenters.load(path)
    network = compute.to_device(network.eval())
    found = segmenters.predictor(settings, photos, [network], size, scales=(1.0, 1.5))(photos.test)
    assert found.shape == (len(photos.test), 48, 48) and np.ptp(found) > 0 and 0 <= found.min() <= found.max() <= 1


def test_any_side_of_ours_will_do_and_a_multiple_of_32_is_not_touched(smp):
    torch.manual_seed(0)
    network = segmenters.untrained(NAME, "resnet18").eval()
    with torch.no_grad():
        for side in (48, 80, 144):
            assert network(torch.rand(1, 3, side, side)).shape == (1, 2, side, side)
        photos = torch.rand(1, 3, 64, 64)
        assert torch.equal(network(photos), network.network(photos))


@pytest.mark.parametrize(
    "name, line",
    [
        ("smp:Unet:none", "smp:Unet:none: .*Wrong encoder name `none`"),
        ("smp:Wnet:resnet18", "smp:Wnet:resnet18: .*Wrong architecture type `Wnet`"),
        ("smp:DPT:tu-vit_tiny_patch16_224", "smp:DPT:tu-vit_tiny_patch16_224: Input height"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(smp, name, line):
    with pytest.raises(InputError, match=line) as caught:
        segmenters.check_name(name)
    assert len(str(caught.value)) <= 200


def test_missing_weights_and_a_missing_package(smp, settings, monkeypatch):
    settings.weights = "imagenet"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/no/where")
    with pytest.raises(InputError, match=f"the ImageNet weights for {NAME} were not downloaded"):
        segmenters.initial(NAME, settings)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(InputError, match=r"\(pip install segmentation_models_pytorch\)"):
        segmenters.check_name(NAME)
