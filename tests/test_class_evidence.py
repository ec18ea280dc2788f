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
    """A first map: the pet stands out, and in every fourth photo the chair, too."""
    found = np.full((len(index), 64, 64), 0.2, np.float32)
    found[:, :32, :32] = 0.7
    found[np.asarray(index) % 4 == 0, 32:, :32] = 0.7
    return found


def weighed(settings, photos, predict=salient, weight=0.5):
    lines = []
    run = SimpleNamespace(settings=settings, log=lines.append)
    return class_evidence.weigh(run, photos, predict, weight=weight), lines


def test_the_chair_leaves_the_mask(network, photos, settings):
    predict, lines = weighed(settings, photos)
    found = predict(photos.trainval)
    pet, chair, lawn = found[:, 8:24, 8:24], found[:, 40:56, 8:24], found[:, :, 40:56]
    assert found.dtype == np.float32 and found.shape == (8, 64, 64)
    assert pet.min() > 0.7 and chair[::4].max() < 0.5 and lawn.max() < 0.2
    assert lines == ["class evidence: 2 of 4 classes are subject"]


def test_a_chair_that_stands_out_everywhere_stays(network, photos, settings):
    """Nothing but the masks says what is subject."""

    def both(index):
        return np.where(np.arange(64) < 32, 0.7, 0.2).astype(np.float32) * np.ones((len(index), 64, 1), np.float32)

    predict, _ = weighed(settings, photos, both)
    assert predict(photos.trainval)[:, 40:56, 8:24].min() > 0.7


def test_the_pet_comes_back(network, photos, settings):
    """The map of a test photo missed the pet, and gets it from what trainval says: test says nothing."""
    photos.trainval, asked = np.arange(7), []

    def missed(index):
        asked.extend(index)
        return np.where((np.asarray(index) == 7)[:, None, None], np.float32(0.45), salient(index))

    predict, _ = weighed(settings, photos, missed)
    assert sorted(asked) == list(range(7))
    found = predict(np.array([7]))[0]
    assert found[8:24, 8:24].min() > 0.5 > found[:, 40:56].max()


def test_even_odds_lie_between_the_subject_and_the_rest(network, photos, settings):
    """Of few kinds few classes are subject: little evidence is much, if there is less outside."""
    names = nn.Linear(3, 100)
    nn.init.zeros_(names.weight), nn.init.zeros_(names.bias)
    names.weight.data[:4], names.bias.data[:4] = network.fc.weight / 2, network.fc.bias
    network.fc = names
    (predict, lines), scores = weighed(settings, photos), class_evidence.scores_of_places
    found, of_pet = predict(photos.trainval), scores(network, compute.normalise(photos.batch([0])))[0, :2, 0, 0].sum()
    assert "2 of 100 classes" in lines[0] and of_pet < 0.5, "as a share it would speak against the pet"
    assert found[:, 8:24, 8:24].min() > 0.7 > found[::4, 40:56, 8:24].max()


def test_without_evidence_the_predictor_is_the_same(network, photos, settings):
    assert weighed(settings, photos, weight=0)[0] is salient
    network.fc = nn.Linear(3, 0)
    assert weighed(settings, photos)[0] is salient
    network.fc = nn.Linear(3, 2)
    nn.init.zeros_(network.fc.weight), nn.init.zeros_(network.fc.bias)  # both are everywhere alike
    predict, lines = weighed(settings, photos)
    assert predict is salient and "0 of 2 classes" in lines[0]


def test_random_weights_are_the_same_whatever_was_drawn_before(photos, settings):
    """A resumed run does not train again what an unbroken one has trained before it looks for evidence."""
    found = []
    for _ in range(2):
        found.append(weighed(settings, photos)[0](photos.trainval[:2]))
        torch.rand(5)
    assert np.array_equal(*found) and not np.array_equal(found[0], salient(photos.trainval[:2]))
