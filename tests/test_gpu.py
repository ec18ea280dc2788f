"""What only a GPU shows."""

import numpy as np
import pytest
import torch

from src import compute
from src.models import backbones, classifiers
from src.postprocessing import crf

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA or AMD GPU here")


@pytest.mark.parametrize("name, layout", [("mobilenet_v2", True), ("resnet18", False)])
def test_networks_with_depthwise_convolutions_are_not_in_channels_last(name, layout):
    """In channels_last cuDNN compiles for seconds wherever the last batch of an epoch is smaller than the others."""
    torch.manual_seed(0)
    model, photos = classifiers.untrained(name, 2).eval(), torch.randint(256, (4, 3, 64, 64))
    with torch.inference_mode():
        before = model(compute.normalise(photos).cpu())
        fused = backbones.fuse_batchnorm(compute.to_device(model))
        features = fused.backbone(compute.normalise(photos))[-1]
        assert features.is_contiguous() == layout
        torch.testing.assert_close(fused(compute.normalise(photos)).cpu(), before, rtol=1e-3, atol=1e-4)


def test_dense_crf_on_the_gpu_is_that_of_the_cpu(monkeypatch):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (40, 60, 3), np.uint8), np.full((30, 30, 3), 90, np.uint8)]
    rough = [rng.random(photo.shape[:2], np.float32) for photo in photos]
    on_gpu = crf.refine(photos, rough, crf.DenseCRF())
    monkeypatch.setattr(compute, "device", lambda: torch.device("cpu"))
    for one, other in zip(on_gpu, crf.refine(photos, rough, crf.DenseCRF()), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)
