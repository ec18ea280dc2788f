import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from src import InputError, compute, data
from src.data.decoding import decode
from src.drawings import painter
from src.models import segmenters
from src.postprocessing import crf, finishing, masks


def test_probability_and_labels():
    prob = masks.probability(np.array([[0.1, 0.29, 0.31, 0.9]]), 0.3)
    assert masks.label(prob, 0.0).tolist() == [[0, 0, 1, 1]]
    assert masks.label(prob, 0.1).tolist() == [[0, 255, 255, 1]]


def test_grow_gives_a_square_around_each_pixel():
    prob = np.zeros((40, 100), np.float32)
    prob[20, 50] = 0.9
    grown = finishing.dilate(prob, 0.03)  # of the longer side
    assert np.argwhere(grown == np.float32(0.9)).tolist() == [[y, x] for y in range(17, 24) for x in range(47, 54)]
    assert (grown > 0).sum() == 49 and np.array_equal(finishing.dilate(prob, 0.0), prob)


def test_recipe_refines_then_grows(tmp_path, drawn):
    photo = next((drawn / "oxford-iiit-pet" / "images").iterdir())
    prob = np.zeros((32, 32), np.float32)
    prob[12:20, 12:20] = 0.95
    recipes = {
        "plain": finishing.Recipe(),
        "refined": finishing.Recipe(refine=crf.DenseCRF(bilateral_compat=1)),
        "grown": finishing.Recipe(refine=crf.DenseCRF(bilateral_compat=1), dilation=0.05),
    }
    masks.finish([(photo, "mask", prob, None)], tmp_path, recipes, 0.0)
    made = {name: masks.read(tmp_path / name / "mask.png") == 1 for name in recipes}
    assert not np.array_equal(made["plain"], made["refined"])
    assert (made["grown"] >= made["refined"]).all() and made["grown"].sum() > made["refined"].sum()
    assert np.array_equal(made["grown"], finishing.dilate(made["refined"].astype(np.float32), 0.05) == 1)


def test_few_large_photos_at_once_make_the_same_masks(tmp_path, settings, monkeypatch):
    photos = data.load(settings)
    seen, finish = [], masks.finish
    monkeypatch.setattr(masks, "finish", lambda items, **options: (seen.append(len(items)), finish(items, **options)))
    for name, pixels in (("all", masks.PIXELS), ("one", 1)):
        monkeypatch.setattr(masks, "PIXELS", pixels)
        (tmp_path / name).mkdir()
        masks.write(
            tmp_path / name,
            photos,
            lambda index: np.eye(8)[index % 8, None] * np.ones((1, 8, 1)),
            {"masks": finishing.Recipe()},
        )
    made = [{p.name: p.read_bytes() for p in (tmp_path / name / "masks").iterdir()} for name in ("all", "one")]
    assert made[0] == made[1] and sum(seen) == 2 * len(made[0])
    assert set(seen[-len(made[0]) :]) == {1}


def test_dense_crf_is_not_believed_where_it_takes_the_subject():
    photo = np.full((40, 40, 3), 90, np.uint8)
    prob = np.full((40, 40), 0.05, np.float32)
    prob[18:22, 18:22] = 0.6  # small and dim: gone after the dense CRF
    refine = crf.DenseCRF(bilateral_compat=4)
    recipes = {"plain": finishing.Recipe(refine), "kept": finishing.Recipe(refine, keep=0.5)}
    made = finishing.refined([photo], [prob], recipes)
    assert not (made["plain"][0] > 0.5).any() and np.array_equal(made["kept"][0], prob)
    large = np.full((40, 40), 0.05, np.float32)
    large[5:35, 5:35] = 0.95
    made = finishing.refined([photo], [large], recipes)
    assert np.array_equal(made["plain"][0], made["kept"][0])


def test_earlier_checkpoints_are_read_as_they_were(tmp_path):
    model, settings = segmenters.UNet(), SimpleNamespace(backbone="resnet18")
    reading = {"scales": [1.0], "crf": None, "dilation": 0.01}
    torch.save(segmenters.checkpoint(model, "unet", settings, 48, reading), tmp_path / "checkpoint.pt")
    _, _, found = segmenters.load(tmp_path / "checkpoint.pt")
    assert finishing.recipe_of(found) == finishing.Recipe(dilation=0.01)


def test_level_is_where_a_pixel_becomes_subject():
    photo, prob = np.zeros((4, 4, 3), np.uint8), np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    made = finishing.refined([photo], [prob], {"low": finishing.Recipe(level=0.3)})["low"][0]
    assert np.array_equal(made > 0.5, prob > 0.3) and made.dtype == np.float32 and made[0, 0] == 0 and made[-1, -1] == 1


def test_a_mask_that_an_editor_saved_in_black_and_white_trains_as_it_was_meant(tmp_path, settings):
    photos = data.load(settings)
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 10:20] = 1
    masks.save(tmp_path / f"{photos.names[0]}.png", labels)
    ours = masks.from_folder(photos, tmp_path, 32)(0)
    Image.fromarray(255 * labels).save(tmp_path / f"{photos.names[0]}.png")
    assert ours.any() and np.array_equal(masks.from_folder(photos, tmp_path, 32)(0), ours)


def test_palette_png_round_trip(tmp_path):
    labels = np.array([[0, 1], [255, 1]], np.uint8)
    masks.save(tmp_path / "m.png", labels)
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((1, 0)) == masks.PALETTE[1]
    assert np.array_equal(masks.read(tmp_path / "m.png"), labels)
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]
    with pytest.raises(InputError, match="no readable mask"):
        masks.read(tmp_path / "other.png")


def test_crf_follows_the_photo_and_keeps_confidence():
    photo = np.full((40, 60, 3), 30, np.uint8)
    photo[10:30, 20:45] = (220, 180, 90)
    truth = photo[..., 0] > 100
    rough = np.zeros((40, 60), np.float32)
    rough[6:26, 16:41] = 1
    prob = 0.3 + 0.4 * rough
    refined = crf.refine([photo], [prob], crf.DenseCRF(bilateral_srgb=10, bilateral_compat=4))[0] > 0.5

    def iou(mask):
        return (mask & truth).sum() / (mask | truth).sum()

    assert iou(refined) > iou(rough > 0.5) + 0.2
    sure = np.where(rough > 0, 1 - 1e-4, 1e-4)
    unmoved = crf.refine([photo], [sure], crf.DenseCRF(gaussian_compat=0.01, bilateral_compat=0.01))[0] > 0.5
    assert np.array_equal(unmoved, rough > 0.5)


@pytest.mark.parametrize("widths", [{}, {"bilateral_srgb": 10, "bilateral_compat": 4}, {"bilateral_sxy": 30}])
def test_lattice_agrees_with_pydensecrf(widths, drawn):
    pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed (requirements-compiled.txt)")
    photos = [decode(path) for path in sorted((drawn / "oxford-iiit-pet" / "images").iterdir())[::5]]
    rng = np.random.default_rng(0)
    rough = [painter.noise(rng, *photo.shape[:2], cells=6).astype(np.float32) for photo in photos]
    ours, theirs = (crf.refine(photos, rough, crf.DenseCRF(**widths, backend=name)) for name in crf.BACKENDS)
    for prob, one, other in zip(rough, ours, theirs, strict=True):
        assert one.dtype == other.dtype == np.float32 and one.shape == other.shape == prob.shape
        assert np.abs(one - other).mean() < 1e-4
        assert ((one > 0.5) == (other > 0.5)).mean() >= 0.9999
        assert np.abs(one - prob).mean() > 0.05  # and it did something


def test_large_photos_are_refined_at_a_bounded_size():
    rng = np.random.default_rng(0)
    photo = np.full((60, 120, 3), 40, np.uint8)
    photo[20:40, 30:90] = 200
    prob = np.where(photo[..., 0] > 100, 0.7, 0.3) + rng.normal(0, 0.1, photo.shape[:2])
    large = [photo.repeat(4, axis=0).repeat(4, axis=1)]
    blurred = [prob.repeat(4, axis=0).repeat(4, axis=1)]
    small = crf.refine([photo], [prob], crf.DenseCRF())[0] > 0.5
    refined = crf.refine(large, blurred, crf.DenseCRF(max_side=120))[0]
    assert refined.shape == (240, 480)
    assert ((refined[2::4, 2::4] > 0.5) != small).mean() < 0.01
    whole = crf.refine(large, blurred, crf.DenseCRF(max_side=480))[0]
    again = crf.refine(large, blurred, crf.DenseCRF(max_side=4000))[0]
    assert np.allclose(whole, again, rtol=0, atol=1e-4)  # on a GPU sums are of no fixed order


def test_pydensecrf_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(InputError, match="needs the package pydensecrf2"):
        crf.DenseCRF(backend="pydensecrf")
    with pytest.raises(InputError, match="unknown crf 'other'; one of lattice, pydensecrf"):
        crf.DenseCRF(backend="other")


@pytest.mark.parametrize("name", ["unet", "backbone_unet", "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_segmenters_score_every_pixel(name):
    model = segmenters.untrained(name, "resnet18").eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 48, 48)).shape == (2, 2, 48, 48)


def test_segmenter_averages_networks_scales_and_mirror_images(settings):
    photos = data.load(settings)

    class Bright(torch.nn.Module):
        """Scores a pixel's brightness for the pet, more to the left, so that a mirror image differs."""

        def __init__(self, gain):
            super().__init__()
            self.gain = gain

        def forward(self, x):
            score = self.gain * x.mean(1) + torch.linspace(1, -1, x.shape[-1], device=x.device)
            return torch.stack([torch.zeros_like(score), score], dim=1)

    index, size = photos.trainval[:3], 32

    def made(networks, scales):
        return segmenters.predictor(settings, photos, networks, size, scales=scales)(index)

    one, two = Bright(1.0), Bright(-2.0)
    by_hand = [made([network], (scale,)) for network in (one, two) for scale in (0.5, 1.0)]
    assert np.allclose(made([one, two], (0.5, 1.0)), np.mean(by_hand, axis=0), atol=1e-6)
    still = made([Bright(0.0)], (1.0,))
    assert np.allclose(still, still[:, :, ::-1], atol=1e-6) and still.shape == (3, size, size)


def test_unknown_segmenter():
    with pytest.raises(InputError, match="unknown segmenter 'wnet'"):
        segmenters.untrained("wnet", "resnet18")


def test_augment_moves_photo_and_mask_alike():
    ramp = compute.to_device(torch.arange(32.0).expand(4, 3, 32, 32) * 7)
    labels = (ramp[:, :1] > 112).to(torch.uint8)
    photos, moved = data.augment(
        ramp, data.randomness(range(4), torch.Generator().manual_seed(0)), labels, brightness=0
    )
    edge = (photos[:, :1] > 112) != (moved == 1)
    assert edge.float().mean() < 0.05
    assert not torch.equal(photos[0], photos[1])
    again, _ = data.augment(ramp, data.randomness(range(4), torch.Generator().manual_seed(0)), labels, brightness=0)
    assert torch.equal(photos, again)
    with torch.autocast(compute.device().type, torch.bfloat16):
        under, _ = data.augment(ramp, data.randomness(range(4), torch.Generator().manual_seed(0)), labels, brightness=0)
    assert torch.equal(photos, under), "coordinates were rounded to bf16"
