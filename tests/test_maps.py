"""CAM, ECS, CCAM: against pencil and paper."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from src import compute, data, maps, training
from src.methods import cam, cam_ecs, ccam, ensemble
from src.models import backbones, classifiers
from src.postprocessing import masks


def test_cam_is_the_weighted_sum_of_features():
    features = torch.rand(2, 3, 4, 5) - 0.3
    weight = torch.randn(7, 3)
    found = cam.class_maps(features, weight, torch.tensor([2, 6]))
    for n, k in ((0, 2), (1, 6)):
        by_hand = sum(weight[k, c] * features[n, c] for c in range(3)).clamp(min=0)
        torch.testing.assert_close(found[n], by_hand)
    normal = maps.normalise(found)
    assert normal.amax() <= 1 and normal.amin() >= 0
    assert torch.equal(maps.normalise(torch.zeros(1, 2, 2)), torch.zeros(1, 2, 2))


def test_maps_lie_where_the_network_looked():
    """A bright square through stride-16 convolutions comes back in its place; plain upsampling moves it by 7 pixels."""
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False) for _ in range(4)))
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    for layer in net:
        layer.weight.data[:] = kernel
    photo = torch.zeros(1, 1, 224, 224)
    photo[..., 76:116, 120:160] = 1
    with torch.no_grad():
        low = net(photo)[:, 0]
    where = torch.arange(224.0)

    def middle(found):
        return [(found.sum(dim=d) * where).sum().item() / found.sum().item() for d in (1, 0)]

    assert middle(maps.upsample(low, 224)[0]) == pytest.approx([95.5, 139.5], abs=0.6)
    plain = nn.functional.interpolate(low[:, None], (224, 224), mode="bilinear")[0, 0]
    assert middle(plain) == pytest.approx([95.5 + 7.5, 139.5 + 7.5], abs=1.0)


def test_multi_scale_averages_scales_and_mirrors():
    seen = []

    def brightness(photos):
        seen.append(photos.shape[-1])
        return torch.nn.functional.avg_pool2d(photos, 16).mean(1)

    photos = torch.rand(2, 3, 64, 64)
    found = maps.multi_scale(brightness, photos, (0.5, 1.0))
    assert found.shape == (2, 64, 64) and seen == [32, 32, 64, 64]
    level = maps.multi_scale(brightness, torch.full((1, 3, 64, 64), 0.7), (0.5, 1.0, 1.5))
    torch.testing.assert_close(level, torch.full((1, 64, 64), 0.7))


def test_ecs_takes_over_only_confident_pixels_outside_the_erased_part():
    first = torch.tensor([[[0.9, 0.2, 0.2, 0.4]]])
    second = torch.tensor([[[1.0, 0.9, 0.7, 0.85]]])
    both = cam_ecs.combine(first, second, delta=0.5, theta=0.8)
    torch.testing.assert_close(both, torch.tensor([[[0.9, 0.9, 0.2, 0.85]]]))


def test_ecs_asks_again_where_it_erased_and_does_not_blow_up_noise():
    photos = torch.rand(1, 3, 40, 40)
    looked = []

    def look(batch):
        looked.append(batch)
        found = torch.zeros(1, 40, 40)
        if len(looked) == 1:
            found[:, :20] = 5.0
        else:
            found[:, 30:] = 0.01  # a second look that finds next to nothing
        return found

    both = cam_ecs.look_twice(look, photos, delta=0.5, theta=0.8)
    assert both[:, :20].eq(1).all() and both[:, 20:].eq(0).all()  # as after the first look
    changed = (looked[1] != photos).any(dim=1)[0]
    assert changed[:20].float().mean() > 0.95 and not changed[20:].any()


def test_blur_keeps_the_mean_and_removes_detail():
    checker = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    out = cam_ecs.blur(checker[None, None].float(), 4)
    assert out.std() < 0.02 and out.mean() == pytest.approx(0.5, abs=0.01)


def test_ccam_loss_by_hand():
    a, b = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 1.0], [0.8, 0.6]])
    assert ccam.sim_max(a, alpha=0.8).item() == pytest.approx(-math.log(0.6))  # one partner each, rank 1, weight 1
    cosines = np.clip([0.0, 0.8, 0.8, 0.96], *ccam.COSINE_RANGE)
    assert ccam.sim_min(a, b).item() == pytest.approx(-np.log(1 - cosines).mean(), rel=1e-5)
    third = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])  # ranks of 0: 1 then 2; of 1: 0 then 2; of 2: 1 then 0
    near, far, mid = -math.log(0.8), -math.log(0.0005), -math.log(0.6)
    decay = math.exp(-0.5)
    expected = (near + decay * far + near + decay * mid + mid + decay * far) / 6
    assert ccam.sim_max(third, alpha=0.5).item() == pytest.approx(expected, rel=1e-4)
    assert ccam.sim_max(a[:1], alpha=0.8).item() == 0  # a lone photo has no pairs


def test_ccam_loss_is_symmetric_and_polarity_is_told_by_the_border():
    features, logits = torch.rand(4, 6, 14, 14), torch.randn(4, 14, 14)
    assert ccam.contrastive_loss(features, logits, alpha=0.25).item() == pytest.approx(
        ccam.contrastive_loss(features, -logits, alpha=0.25).item(), rel=1e-4
    )
    pet = torch.full((1, 14, 14), -4.0)
    pet[:, 4:10, 4:10] = 4.0
    assert ccam.border_minus_inside(pet) < 0 < ccam.border_minus_inside(-pet)


def test_ccam_loss_stays_finite_and_exact_under_autocast():
    """Equal foregrounds and backgrounds: their cosine of 0.9995 is 1 in bf16, where log(1 - cos) is infinite."""
    features, logits = compute.to_device(torch.ones(4, 6, 14, 14)), compute.to_device(torch.zeros(4, 14, 14))
    expected = ccam.contrastive_loss(features, logits, alpha=0.25)
    with torch.autocast(compute.device().type, torch.bfloat16):
        under = ccam.contrastive_loss(features, logits, alpha=0.25)
    assert torch.isfinite(under) and torch.equal(under, expected)


def test_a_guided_ccam_shows_its_probability_and_one_left_alone_its_logit():
    torch.manual_seed(0)
    photos, head = compute.to_device(torch.rand(2, 3, 64, 64)), np.zeros(2, np.int64)
    alone = compute.to_device(ccam.CCAM(classifiers.untrained("resnet18", 2)).eval())
    guided = compute.to_device(ccam.CCAM(classifiers.untrained("resnet18", 2), guided=True).eval())
    guided.load_state_dict(alone.state_dict())
    with torch.no_grad():
        logits = alone.logits(alone.features(photos)[0])
        torch.testing.assert_close(alone.activation_maps(photos, head), logits.relu())
        torch.testing.assert_close(guided.activation_maps(photos, head), logits.sigmoid())


def test_maps_of_a_batch_are_those_of_each_photo_alone(settings):
    """Batched at four scales with folded BatchNorm, as masks are made, against photo by photo; in fp32 and bf16."""
    photos, heads = data.load(settings), np.array([0, 2, 1, 2])
    torch.manual_seed(0)
    model = ccam.CCAM(classifiers.untrained("resnet18", 2), heads=3).eval()
    for head in model.heads:
        torch.nn.init.normal_(head[0].weight, std=0.01)
    model.to(compute.device())
    batch, scales = compute.normalise(photos.batch(photos.trainval[:4])), (0.5, 1.0, 1.5, 2.0)

    def maps_of(network, photo, head):
        with torch.no_grad():
            return maps.normalise(maps.multi_scale(lambda scaled: network.activation_maps(scaled, head), photo, scales))

    alone = torch.cat([maps_of(model, batch[i : i + 1].contiguous(), heads[i : i + 1]) for i in range(4)])
    assert alone.std() > 0.1
    folded = compute.to_device(backbones.fuse_batchnorm(model))
    torch.testing.assert_close(maps_of(folded, batch, heads), alone, rtol=0, atol=1e-5)
    with torch.autocast(compute.device().type, torch.bfloat16):
        assert (maps_of(folded, batch, heads) - alone).abs().mean() < 1e-2


def test_features_once_are_those_of_the_photo_or_of_its_mirror_image(settings, tmp_path):
    photos = data.load(settings)
    model = compute.to_device(ccam.CCAM(classifiers.untrained("resnet18", 2)).eval())
    views = training.features_once(SimpleNamespace(settings=settings, path=tmp_path), photos, model)
    index, generator = photos.trainval[[5, 0, 3]], torch.Generator().manual_seed(0)
    batch = compute.normalise(photos.batch(index))
    with torch.no_grad():
        plain, mirrored = model.features(batch)[0], model.features(batch.flip(-1))[0]
    seen = set()
    for _ in range(8):
        for got, one, other in zip(views(index, generator), plain, mirrored, strict=True):
            side = int((got - one).abs().max() > (got - other).abs().max())
            torch.testing.assert_close(got, (one, other)[side], rtol=2e-3, atol=2e-3)
            seen.add(side)
    assert seen == {0, 1}


def test_every_parameter_trains_but_the_frozen_ones():
    """Published CCAM leaves its head and every BatchNorm out of its optimiser's groups; ours does not."""
    model = ccam.CCAM(classifiers.untrained("resnet18", 3))
    model.backbone.freeze(2)
    optimizer = training.sgd([(model.backbone.parameters(), 0.1), (model.heads.parameters(), 0.1)])
    grouped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    wanted = {id(p) for m in (*model.backbone.stages[2:], model.heads) for p in m.parameters()}
    assert grouped == wanted
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_backbones_have_stride_16_and_frozen_stages_do_not_move(name):
    backbone = classifiers.untrained(name, 2).backbone.freeze(2).train()
    before = {k: v.clone() for k, v in backbone.stages[:2].state_dict().items()}
    c4, c5 = backbone(torch.rand(2, 3, 64, 64))
    assert c4.shape == (2, backbone.channels[3], 4, 4) and c5.shape == (2, backbone.channels[4], 4, 4)
    c5.sum().backward()
    assert all(torch.equal(before[k], v) for k, v in backbone.stages[:2].state_dict().items())
    assert all(p.grad is None for p in backbone.stages[:2].parameters())
    assert all(p.grad is not None for p in backbone.stages[2:].parameters())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_folding_batchnorm_changes_nothing(name):
    torch.manual_seed(0)
    model = compute.to_device(classifiers.untrained(name, 3))
    photos = compute.to_device(torch.rand(4, 3, 64, 64))
    model.train()(photos)  # statistics that are not the initial ones
    before = model.eval()(photos).detach()
    with torch.inference_mode():
        torch.testing.assert_close(backbones.fuse_batchnorm(model)(photos), before, rtol=1e-3, atol=1e-4)


def test_otsu_parts_two_heaps():
    rng = np.random.default_rng(0)
    for low, high in ((0.1, 0.7), (0.02, 0.3)):
        heaps = np.concatenate([rng.normal(low, 0.02, 3000), rng.normal(high, 0.02, 1000)]).clip(0, 1)
        threshold = ensemble.otsu(heaps.reshape(1, 50, 80))[0]
        assert low + 0.06 < threshold < high - 0.06
    assert 0 <= ensemble.otsu(np.zeros((1, 4, 4)))[0] <= 1


def test_ensemble_is_the_mean_of_probabilities_over_each_threshold():
    one_map = np.zeros((2, 8, 8), np.float32)
    one_map[:, 2:6, 2:6] = 0.9
    other = one_map[:, ::-1, :] * 0.5
    members, index = [lambda index: one_map[index], lambda index: other[index]], np.array([0, 1])
    found = ensemble.predictor(members)(index)
    fixed = ensemble.predictor(members[:1], threshold=0.3)(index)
    assert np.allclose(fixed, masks.probability(one_map, 0.3))
    by_hand = [masks.probability(one, ensemble.otsu(one)[:, None, None]) for one in (one_map, other)]
    np.testing.assert_allclose(found, (by_hand[0] + by_hand[1]) / 2, rtol=1e-6)
    assert found[0, 3, 3] > 0.9 and found[0, 0, 0] < 0.5
