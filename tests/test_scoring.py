"""Scores of folders of masks of any origin, and of the stages' own: one mask has one IoU."""

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from src import data, metrics, scoring
from src.postprocessing import masks


@pytest.fixture
def photos(settings):
    return data.load(settings, pixels=False)


def write(folder, photos, index, mask_of):
    folder.mkdir()
    for i in index:
        masks.save(folder / f"{photos.names[i]}.png", mask_of(masks.read_trimap(photos, i)))
    return folder


def perfect(trimap):
    return (trimap != metrics.BACKGROUND).astype(np.uint8)


def left_half(trimap):
    mask = perfect(trimap)
    mask[:, mask.shape[1] // 2 :] = 0
    return mask


def test_script_scores_and_compares_folders(script, photos, tmp_path):
    both = np.concatenate([photos.test, photos.trainval])
    good = write(tmp_path / "good", photos, both, perfect)
    half = write(tmp_path / "my half", photos, both, left_half)
    report = tmp_path / "report.json"
    code, out, err = script("train_unet/score_masks.py", "--masks", good, half, "--json", report, "--worst", 3)
    assert code == 0, err
    found = json.loads(report.read_text())
    assert set(found) == {"test", "trainval"}
    test = found["test"]
    by_hand = scoring.confusions(photos, photos.test, half)
    assert test["scores"][str(good)]["pet_iou"] == 1 and test["scores"][str(half)] == metrics.summarise(by_hand)
    change, (low, high) = test["differences"][str(half)]["pet"]
    assert change == pytest.approx(test["scores"][str(half)]["pet_iou"] - 1) and low < change < high
    names, ious = zip(*test["worst"][str(half)], strict=True)
    assert len(names) == 3 and list(ious) == sorted(metrics.per_photo_iou(by_hand))[:3]
    assert f"| {good} | 100.00 (100.0 to 100.0) |" in out and f"lowest IoU in {half}: {names[0]} " in out


def test_pet_values_of_other_tools(photos, tmp_path):
    white = write(tmp_path / "white", photos, photos.test, lambda trimap: 255 * perfect(trimap))
    assert metrics.summarise(scoring.confusions(photos, photos.test, white, (255,)))["pet_iou"] == 1
    assert metrics.summarise(scoring.confusions(photos, photos.test, white))["pet_iou"] == 0  # 255 is uncertain


def test_white_is_the_pet_in_masks_of_black_and_white(photos, tmp_path):
    both, folder = np.concatenate([photos.test, photos.trainval]), tmp_path / "white"
    folder.mkdir()
    for i in both:
        Image.fromarray(255 * perfect(masks.read_trimap(photos, i))).save(folder / f"{photos.names[i]}.png")
    assert metrics.summarise(scoring.confusions(photos, both, folder))["pet_iou"] == 1
    assert metrics.summarise(scoring.confusions(photos, both, folder, (1, 2)))["pet_iou"] == 0


def test_soft_edges_and_a_palette_with_white_first_are_scored_as_they_were_meant(photos, tmp_path):
    for name in ("soft", "palette"):
        (tmp_path / name).mkdir()
    for i in photos.test:
        pet = perfect(masks.read_trimap(photos, i))
        soft = Image.fromarray(255 * pet).filter(ImageFilter.GaussianBlur(1))
        soft.save(tmp_path / "soft" / f"{photos.names[i]}.png")
        image = Image.fromarray(1 - pet)
        image.putpalette([255, 255, 255, 0, 0, 0] + [0] * 762)  # white, the pet, is index 0
        image.save(tmp_path / "palette" / f"{photos.names[i]}.png")
    assert metrics.summarise(scoring.confusions(photos, photos.test, tmp_path / "palette"))["pet_iou"] == 1
    assert metrics.summarise(scoring.confusions(photos, photos.test, tmp_path / "soft"))["pet_iou"] > 0.95


def test_a_mask_that_was_corrected_in_black_and_white_agrees_with_itself(photos, tmp_path):
    i = photos.test[0]
    pet = perfect(masks.read_trimap(photos, i))
    masks.save(tmp_path / "made" / f"{photos.names[i]}.png", pet)
    (tmp_path / "corrected").mkdir()
    Image.fromarray(255 * pet).save(tmp_path / "corrected" / f"{photos.names[i]}.png")
    assert scoring.agreement(photos, [i], tmp_path / "made", tmp_path / "corrected").tolist() == [1.0]


def test_the_paired_interval_is_narrower_than_two_apart(photos):
    rng = np.random.default_rng(0)
    hits = rng.integers(100, 900, 200)
    counts = np.zeros((2, 200, 3, 2), int)
    counts[:, :, 0, 1], counts[0, :, 0, 0], counts[1, :, 0, 0] = hits, 1000 - hits, 990 - hits
    change, (low, high) = scoring.compare({"a": counts[0], "b": counts[1]})["b"]["pet"]
    alone = metrics.bootstrap(metrics.per_photo_iou(counts[0]))
    assert 0 < low < change < high and high - low < (alone[1] - alone[0]) / 10


@pytest.mark.parametrize(
    "spoil, line",
    [
        (lambda folder: folder / "nowhere", "no folder of masks"),
        (lambda folder: next(folder.iterdir()).unlink() or folder, "lacks 1 mask of 8: "),
        (lambda folder: next(folder.iterdir()).write_bytes(b"no image") and folder, "no readable mask"),
        (lambda folder: masks.save(next(folder.iterdir()), np.ones((5, 5), np.uint8)) or folder, "mask is (5, 5)"),
    ],
)
def test_bad_folders_are_one_line(script, photos, tmp_path, spoil, line):
    folder = spoil(write(tmp_path / "masks", photos, photos.test, perfect))
    code, _, err = script("train_unet/score_masks.py", "--masks", folder)
    assert code == 2 and line in err and len(err.splitlines()) == 1


def test_a_stage_scores_the_files_that_it_wrote(settings, photos, tmp_path):
    """Uncertain pixels are background in the score as in the pictures."""

    class Run:
        path = tmp_path

        def log(self, text):
            raise AssertionError(text)

    def unsure(trimap):
        return np.where(trimap == metrics.BORDER, masks.IGNORE, perfect(trimap)).astype(np.uint8)

    write(tmp_path / "masks", photos, photos.test, unsure)
    write(tmp_path / "masks_crf", photos, photos.test, left_half)
    photos.__dict__["trainval"] = photos.trainval[:0]
    found = scoring.score(Run(), photos, ["masks", "masks_crf"])
    assert set(found) == {"test", "test_crf"}
    assert found["test"]["pet_iou"] < found["test"]["pet_iou_border_ignored"] == 1
    by_class = found["test_crf"]["by_class"]
    assert list(by_class) == photos.breed_names
    counts, iou, ignored = np.array(list(by_class.values())).T
    assert counts.sum() == len(photos.test)
    assert np.average(iou, weights=counts) == pytest.approx(found["test_crf"]["pet_iou"], abs=1e-4)
    assert np.average(ignored, weights=counts) == pytest.approx(found["test_crf"]["pet_iou_border_ignored"], abs=1e-4)
