"""Numbers stay finite where inputs are degenerate, and scores have the properties that their definitions promise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from src import maps, metrics
from src.methods import cam, cam_ecs, ccam, ensemble
from src.postprocessing import crf, finishing, masks

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("alike", ["identical", "opposite", "zero", "huge", "random"])
def test_contrastive_loss_and_its_gradient_are_finite(kind, count, alike):
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(1, 8, 4, 4, generator=generator)
    features = {
        "identical": one.expand(count, -1, -1, -1),
        "opposite": one * torch.tensor([(-1.0) ** k for k in range(count)]).view(-1, 1, 1, 1),
        "zero": torch.zeros(count, 8, 4, 4),
        "huge": 1e4 * torch.randn(count, 8, 4, 4, generator=generator),
        "random": torch.randn(count, 8, 4, 4, generator=generator),
    }[alike].to(kind)
    logits = torch.randn(count, 4, 4, generator=generator, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
        loss = ccam.contrastive_loss(features, logits, alpha=0.25)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("level", [-1e9, -30.0, 0.0, 30.0, 1e9])
def test_saturated_maps_give_finite_losses(level):
    logits = torch.full((3, 4, 4), level, requires_grad=True)
    loss = ccam.contrastive_loss(torch.rand(3, 8, 4, 4), logits, alpha=0.25)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_a_map_of_zeros_stays_one():
    features, weight = torch.zeros(2, 4, 5, 5), torch.randn(3, 4)
    found = maps.normalise(cam.class_maps(features, weight, torch.tensor([0, 2])))
    assert (found == 0).all()
    erased = cam_ecs.erase(torch.rand(2, 3, 40, 40), torch.zeros(2, 40, 40), delta=0.5)
    assert torch.isfinite(erased).all()
    assert np.isfinite(ensemble.otsu(np.zeros((2, 5, 5), np.float32))).all()
    assert np.isfinite(masks.probability(np.zeros((2, 5, 5)), ensemble.otsu(np.zeros((2, 5, 5)))[:, None, None])).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (33, 20)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_dense_crf_of_one_colour_and_of_one_line(size, level):
    """Where all pixels are alike, so is the answer: nothing tells one from another but its place."""
    photo, prob = np.full((*size, 3), 77, np.uint8), np.full(size, level, np.float32)
    found = crf.refine([photo], [prob], crf.DenseCRF())[0]
    assert found.shape == size and np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    assert ((found > 0.5) == (level > 0.5)).all()


def masks_and_trimaps(count=1):
    """Strategy: a bool mask and a trimap of one shape."""
    both = lambda shape: st.tuples(arrays(bool, shape), arrays(np.uint8, shape, elements=st.integers(1, 3)))  # noqa: E731
    return st.lists(SHAPES.flatmap(both), min_size=count, max_size=4)


def counts_of(pairs):
    return np.stack([metrics.confusion(mask, trimap) for mask, trimap in pairs])


@given(masks_and_trimaps())
def test_iou_is_at_most_dice_and_both_are_fractions(pairs):
    figures = metrics.summarise(counts_of(pairs))
    assert 0 <= figures["pet_iou"] <= figures["pet_dice"] <= 1
    assert 0 <= figures["pet_iou_border_ignored"] <= figures["pet_dice_border_ignored"] <= 1
    low, high = figures["pet_iou_ci95"]
    assert low - 1e-9 <= figures["pet_iou"] <= high + 1e-9


@given(masks_and_trimaps())
def test_mirror_images_and_the_order_of_photos_change_no_score(pairs):
    figures = metrics.summarise(counts_of(pairs))
    mirrored = metrics.summarise(counts_of([(m[:, ::-1], t[:, ::-1]) for m, t in pairs]))
    assert mirrored == figures
    turned = metrics.summarise(counts_of(pairs[::-1]))
    assert {k: v for k, v in turned.items() if "ci95" not in k} == pytest.approx(
        {k: v for k, v in figures.items() if "ci95" not in k}
    )


@given(masks_and_trimaps())
def test_a_perfect_mask_scores_one(pairs):
    figures = metrics.summarise(counts_of([(trimap != metrics.BACKGROUND, trimap) for _, trimap in pairs]))
    assert figures["pet_iou"] == figures["pet_dice"] == figures["pet_iou_border_ignored"] == 1


@given(arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32)), st.floats(0, 0.4))
def test_growth_loses_no_pixel(prob, share):
    assert (finishing.dilate(prob, share) >= prob).all()
