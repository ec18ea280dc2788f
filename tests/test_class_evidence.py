"""Class evidence: which classes are subject, and what they do to a probability."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from src import compute
from src.methods import class_evidence
from src.models import classifiers

DOG, CAT, CHAIR, LAWN = range(4)
COLOURS = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250), (0, 0, 0)])


def pictures(pet_of, side=64):
    """Photos (n, 3, side, side): the pet top left, a chair below it, lawn on the right."""
    found = np.zeros((len(pet_of), side, side, 3), np.uint8)
    half = side // 2
    for picture, pet in zip(found, pet_of, strict=True):
        picture[:half, :half], picture[half:, :half] = COLOURS[pet], COLOURS[CHAIR]
    return torch.from_numpy(found).permute(0, 3, 1, 2)


class Colours(nn.Module):
    """A backbone whose features are the mean colour of each 16 x 16 pixels."""

    centre, traceable = 0.5, False

    def forward(self, images):
        return [None, nn.functional.avg_pool2d(images, 16)]


@pytest.fixture
def network(monkeypatch):
    """A classifier of red dogs, green cats, blue chairs and black lawn as the pretrained one."""
    model = classifiers.Classifier(Colours(), nn.Linear(3, 4))
    weight = torch.cat([torch.eye(3), torch.zeros(1, 3)])
    model.fc.load_state_dict({"weight": weight, "bias": torch.tensor([0.0, 0.0, 0.0, 0.5])})
    monkeypatch.setattr(classifiers, "pretrained", lambda settings: model)
    return model


@pytest.fixture
def photos():
    breeds = np.arange(8) % 2
    pixels = pictures([DOG if breed == 0 else CAT for breed in breeds])
    return SimpleNamespace(trainval=np.arange(8), breeds=breeds, batch=lambda index: pixels[index])


def salient(index):
    """A first map: pet and chair alike stand out before the lawn."""
    found = np.full((len(index), 64, 64), 0.2, np.float32)
    found[:, :, :32] = 0.7
    return found


def weighed(settings, photos, weight=0.5):
    lines = []
    run = SimpleNamespace(settings=settings, log=lines.append)
    return class_evidence.weigh(run, photos, salient, weight=weight), lines


def test_what_labels_explain():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 3)
    told, noise = labels[:, None] * np.ones((1, 2)), generator.normal(size=(60, 500))
    assert class_evidence.explained(told, labels) == pytest.approx(1)
    by_chance = class_evidence.explained(noise, labels)
    assert abs(by_chance.mean()) < 0.03, "few photos of each label explain nothing by themselves"


def test_subject_is_what_labels_tell_and_masks_hold():
    labels = np.arange(40) % 2
    chair = np.random.default_rng(0).uniform(0.1, 0.3, 40)
    scores = np.stack([0.3 * (labels == 0), 0.3 * (labels == 1), chair, 0.7 - chair], 1)
    inside = scores * [0.9, 0.9, 0.8, 0.05]
    chosen, prior = class_evidence.subject_classes(scores, inside, labels)
    assert chosen.tolist() == [True, True, False, False] and 0 < prior < 1
    alone, _ = class_evidence.subject_classes(scores, inside, np.zeros(40, int))
    assert alone.tolist() == [True, True, True, False], "with one label only the masks can say"
    nobody, _ = class_evidence.subject_classes(scores, 0 * inside, labels)
    assert not nobody.any()


def test_the_chair_leaves_the_mask(network, photos, settings):
    predict, lines = weighed(settings, photos)
    found = predict(photos.trainval)
    pet, chair, lawn = found[:, 8:24, 8:24], found[:, 40:56, 8:24], found[:, :, 40:56]
    assert found.dtype == np.float32 and found.shape == (8, 64, 64)
    assert pet.min() > 0.7 and chair.max() < 0.5 and lawn.max() < 0.2
    assert lines == ["class evidence: 2 of 4 classes are subject, 50% of all places"]


def test_even_odds_lie_between_the_subject_and_the_rest(network, photos, settings):
    """Of few kinds labels explain few classes: little evidence is much, if there is less outside."""
    names = nn.Linear(3, 100)
    nn.init.zeros_(names.weight), nn.init.zeros_(names.bias)
    names.weight.data[:4], names.bias.data[:4] = network.fc.weight / 2, network.fc.bias
    network.fc = names
    light = torch.from_numpy(np.random.default_rng(0).integers(0, 20, (8, 1, 1, 1)))  # or labels would explain chairs
    pixels = (photos.batch(np.arange(8)).int() + light).clamp(max=255).byte()
    photos.batch = lambda index: pixels[index]
    (predict, lines), share = weighed(settings, photos), class_evidence.scores_of_places
    found, odds_of_pet = predict(photos.trainval), share(network, compute.normalise(pixels))[0, :2, 0, 0].sum()
    assert "2 of 100 classes" in lines[0] and odds_of_pet < 0.5, "as a share it would speak against the pet"
    assert found[:, 8:24, 8:24].min() > 0.7 > found[:, 40:56, 8:24].max()


def test_labels_of_other_photos_do_not_matter(network, photos, settings):
    """Test photos are weighed, too, by what trainval says."""
    predict, _ = weighed(settings, photos)
    photos.trainval = photos.trainval[:6]
    fewer, _ = weighed(settings, photos)
    photos.breeds = np.where(np.arange(8) < 6, photos.breeds, 1 - photos.breeds)
    other, _ = weighed(settings, photos)
    assert np.array_equal(fewer(np.arange(8)), other(np.arange(8)))
    assert predict(np.array([7])).shape == (1, 64, 64)


def test_without_evidence_the_predictor_is_the_same(network, photos, settings):
    assert weighed(settings, photos, weight=0)[0] is salient
    photos.breeds = np.zeros(8, int)
    network.fc = nn.Linear(3, 0)
    assert weighed(settings, photos)[0] is salient
    network.fc = nn.Linear(3, 2)
    nn.init.zeros_(network.fc.weight), nn.init.zeros_(network.fc.bias)
    photos.batch = lambda index: pictures([CHAIR] * 8)[index]
    predict, lines = weighed(settings, photos)
    assert predict is salient and "0 of 2 classes" in lines[0]
