"""On real photographs, where the environment names them (PETS_ROOT, and PETS_WEIGHTS for ImageNet MobileNetV2)."""

import dataclasses
import os

import numpy as np
import pytest

from src import data, metrics
from src.data.decoding import decode
from src.methods import cam, cam_ecs
from src.postprocessing import masks


@pytest.fixture
def pets(pets_root, settings):
    settings.data_root, settings.image_size, settings.backbone = pets_root, 224, "mobilenet_v2"
    return data.load(settings, background=True)


def test_real_photos_load(pets):
    assert len(pets.breed_names) == 37 and pets.species_names == ["cat", "dog"]
    assert len(set(pets.trainval) & set(pets.test)) == 0 and len(pets.background) > 50
    trimap = masks.read_trimap(pets, 0)
    assert trimap.shape == decode(pets.paths[0]).shape[:2] and set(np.unique(trimap)) <= {1, 2, 3}


def test_cam_of_imagenet_finds_real_pets(pets, settings):
    """A quarter of the pixels would be 0.2; the maps must be much better than chance, with no training at all."""
    if not os.environ.get("PETS_WEIGHTS"):
        pytest.skip("PETS_WEIGHTS is not set: no ImageNet weights here")
    settings.weights = os.environ["PETS_WEIGHTS"]
    pets = dataclasses.replace(pets, trainval=pets.trainval[::30], test=pets.test[:0])
    maps = {method: method.predictor(settings, pets, None, scales=(1.0,))(pets.trainval) for method in (cam, cam_ecs)}
    counts = []
    for i, found in zip(pets.trainval, maps[cam], strict=True):
        counts.append(metrics.confusion(found > 0.15, masks.read_trimap(pets, i, 224)))
    assert metrics.summarise(np.stack(counts))["pet_iou"] > 0.35
    assert maps[cam_ecs].max() <= 1 and (maps[cam_ecs] >= maps[cam] - 1e-6).all()
