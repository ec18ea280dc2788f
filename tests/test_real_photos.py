"""On real photographs, where the environment names them (PETS_ROOT, and PETS_WEIGHTS for ImageNet MobileNetV2)."""

import os

import numpy as np
import pytest

from src import compute, data, evaluation, images, masks, metrics, models


@pytest.fixture
def pets(pets_root, settings):
    settings.data_root, settings.image_size, settings.backbone = pets_root, 224, "mobilenet_v2"
    return data.load(settings, background=True)


def test_real_photos_load(pets):
    assert len(pets.breed_names) == 37 and pets.species_names == ["cat", "dog"]
    assert len(set(pets.trainval) & set(pets.test)) == 0 and len(pets.background) > 50
    trimap = masks.read_trimap(pets.trimap_path(0))
    assert trimap.shape == images.decode(pets.paths[0]).shape[:2] and set(np.unique(trimap)) <= {1, 2, 3}


def test_cam_of_imagenet_finds_real_pets(pets, settings):
    """A quarter of the pixels would be 0.2; the maps must be much better than chance, with no training at all."""
    if not os.environ.get("PETS_WEIGHTS"):
        pytest.skip("PETS_WEIGHTS is not set: no ImageNet weights here")
    settings.weights = os.environ["PETS_WEIGHTS"]
    model = compute.place(models.pretrained(settings)).eval()
    index = pets.trainval[::30]
    asked = np.zeros(len(pets.names), np.int64)
    asked[index] = evaluation.predict_classes(model, pets, index)
    maps = evaluation.cam_and_ecs(model, pets, asked, settings, (1.0,), 0.5, 0.8)(index)
    counts = []
    for i, found in zip(index, maps["cam"], strict=True):
        counts.append(metrics.confusion(found > 0.15, masks.read_trimap(pets.trimap_path(i), 224)))
    assert metrics.summarise(np.stack(counts))["pet_iou"] > 0.35
    assert maps["ecs"].max() <= 1 and (maps["ecs"] >= maps["cam"] - 1e-6).all()
