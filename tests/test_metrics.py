import numpy as np
import pytest
import torch
import torchmetrics

from src import metrics


def counts_of(mask, trimap):
    return metrics.confusion(np.array(mask, bool), np.array(trimap, np.uint8))[None]


def test_pencil_and_paper():
    trimap = [[1, 3, 2, 2]]
    figures = metrics.summarise(counts_of([[1, 0, 1, 0]], trimap))
    assert figures["pet_iou"] == pytest.approx(1 / 3)  # hit 1, missed border 1, false 1
    assert figures["pet_dice"] == pytest.approx(2 / 4)
    assert figures["pet_iou_border_ignored"] == pytest.approx(1 / 2)
    assert figures["dataset_iou"] == pytest.approx(1 / 3)
    assert figures["miou"] == pytest.approx((1 / 3 + 1 / 3) / 2)  # background: hit 1, missed 1, false 1


@pytest.mark.parametrize(
    "mask, trimap, iou, ignored",
    [
        ([[0, 0]], [[1, 2]], 0, 0),  # empty mask
        ([[1, 1]], [[1, 2]], 1 / 2, 1 / 2),  # full mask
        ([[1, 0]], [[3, 3]], 1 / 2, 1),  # all border: nothing is left to miss when it is ignored
        ([[0, 0]], [[2, 2]], 1, 1),  # no pet and none found
    ],
)
def test_edge_cases(mask, trimap, iou, ignored):
    counts = counts_of(mask, trimap)
    assert metrics.per_photo_iou(counts)[0] == pytest.approx(iou)
    assert metrics.per_photo_iou(counts, "ignored")[0] == pytest.approx(ignored)


def test_agrees_with_torchmetrics():
    rng = np.random.default_rng(0)
    masks = rng.random((6, 20, 30)) > 0.4
    trimaps = rng.integers(1, 4, (6, 20, 30)).astype(np.uint8)
    counts = np.stack([metrics.confusion(m, t) for m, t in zip(masks, trimaps, strict=True)])
    figures = metrics.summarise(counts)
    predicted, truth = torch.from_numpy(masks).long(), torch.from_numpy(trimaps != 2).long()
    iou = torchmetrics.JaccardIndex("binary")
    f1 = torchmetrics.F1Score("binary")
    per_photo = [(float(iou(p, t)), float(f1(p, t))) for p, t in zip(predicted, truth, strict=True)]
    assert [figures["pet_iou"], figures["pet_dice"]] == pytest.approx(np.mean(per_photo, axis=0).tolist(), abs=1e-6)
    assert figures["dataset_iou"] == pytest.approx(
        float(torchmetrics.JaccardIndex("binary")(predicted, truth)), abs=1e-6
    )
    miou = torchmetrics.JaccardIndex("multiclass", num_classes=2, average="macro")(predicted, truth)
    assert figures["miou"] == pytest.approx(float(miou), abs=1e-6)
    certain = torchmetrics.JaccardIndex("binary", ignore_index=255)
    marked = torch.where(torch.from_numpy(trimaps) == 3, 255, truth)
    ignored = np.mean([float(certain(p, t)) for p, t in zip(predicted, marked, strict=True)])
    assert figures["pet_iou_border_ignored"] == pytest.approx(ignored, abs=1e-6)


def test_interval_holds_the_mean_and_is_repeatable():
    values = np.random.default_rng(1).random(200)
    low, high = metrics.bootstrap(values)
    assert low < values.mean() < high and high - low < 0.15
    assert metrics.bootstrap(values) == [low, high]


def test_wrong_sizes_and_values_are_refused():
    with pytest.raises(ValueError, match="trimap is"):
        metrics.confusion(np.zeros((2, 2), bool), np.ones((2, 3), np.uint8))
    with pytest.raises(ValueError, match="expected 1 to 3"):
        metrics.confusion(np.zeros((2, 2), bool), np.zeros((2, 2), np.uint8))


def test_confidence_is_the_mean_probability_of_the_mask():
    assert metrics.confidence(np.array([[0.9, 0.7], [0.5, 0.1]])) == pytest.approx(0.8)
    assert metrics.confidence(np.zeros((2, 2))) == 0


def test_certainty_is_a_soft_iou():
    prob, mask = np.array([[0.9, 0.2]], np.float32), np.array([[True, False]])
    assert metrics.certainty(prob, mask) == pytest.approx(0.9 / 1.2)
    assert metrics.certainty(prob, ~mask & mask) == pytest.approx(0.1)
