"""LayerCAM against pencil and paper."""

import numpy as np
import pytest
import torch

from src import data, maps
from src.methods import cam, layercam
from src.models import classifiers


def test_layer_map_keeps_positive_gradients_alone():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -4.0]]]])  # two channels of one row
    gradients = torch.tensor([[[[0.5, -1.0]], [[2.0, 1.0]]]])
    assert layercam.layer_map(features, gradients).tolist() == [[[6.5, 0.0]]]


def test_the_last_stage_alone_is_a_cam_of_the_positive_weights(monkeypatch):
    """After average pooling the gradient of a logit is its row of fc everywhere, divided by the number of cells."""
    torch.manual_seed(0)
    model = classifiers.untrained("resnet18", 5).eval()
    images, target = torch.rand(2, 3, 64, 64), torch.tensor([4, 1])
    monkeypatch.setattr(layercam, "FIRST", 4)
    with torch.no_grad():
        found = layercam.class_maps(model, images, target)
        expected = cam.class_maps(model.backbone(images)[1], model.fc.weight.relu(), target)
    torch.testing.assert_close(found, maps.normalise(expected), rtol=1e-4, atol=1e-5)


def test_fusion_is_the_maximum_of_the_stages_and_lifts_the_early_one():
    torch.manual_seed(0)
    model = classifiers.untrained("resnet18", 5).eval()
    images, target = torch.rand(1, 3, 64, 64), torch.tensor([2])
    early, late, last = model.backbone.pyramid(images)[2:]
    logit = model.fc(last.mean(dim=(2, 3)))[0, 2]
    gradients = torch.autograd.grad(logit, (early, late, last))
    by_hand = [
        maps.normalise((g.relu() * f).sum(1).relu()) for g, f in zip(gradients, (early, late, last), strict=True)
    ]
    by_hand[0] = torch.tanh(2 * by_hand[0])
    expected = torch.stack([maps.upsample(one, early.shape[-1]) for one in by_hand]).amax(0)
    found = layercam.class_maps(model, images, target)
    assert found.shape == (1, 8, 8) and not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)


def test_predictor_is_that_of_a_method(settings):
    photos = data.load(settings)
    found = layercam.predictor(settings, photos, None, scales=(1.0,))(photos.trainval[:3])
    assert found.shape == (3, 48, 48) and found.dtype == np.float32
    assert found.min() >= 0 and found.max(axis=(1, 2)) == pytest.approx(1, abs=1e-4)


def test_an_ensemble_may_have_it_as_a_member(script):
    """Class evidence asks its members for maps in inference mode."""
    code, _, err = script("train_ccam/ensemble_masks.py", "--members", "layercam pretrained", "--scales", "1")
    assert code == 0, err
