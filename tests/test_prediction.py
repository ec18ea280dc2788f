"""Masks of photos from anywhere: what is written, what is passed over, what is named."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT, sure
from src import InputError, files, locks, manifest, metrics, predicted, prediction
from src.data import decoding
from src.models import classifiers, segmenters
from src.postprocessing import finishing, guided, masks
from src.postprocessing.crf import DenseCRF


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """An untrained U-Net, read at two scales and with the dense CRF."""
    torch.manual_seed(0)
    model = sure(segmenters.UNet(), Image.open(draw(tmp_path_factory.mktemp("drawn") / "a.png", (48, 48))))
    path = tmp_path_factory.mktemp("segmenter") / "checkpoint.pt"
    reading = finishing.reading((1.0, 1.5), DenseCRF(bilateral_compat=4.0), 0.0)
    settings = type("Settings", (), {"backbone": "resnet18"})
    torch.save(segmenters.checkpoint(model, "unet", settings, 48, reading), path)
    return path


def draw(path, size=(60, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(values).save(path, **options)
    return path


def predict(script, *flags):
    return script("train_unet/predict.py", *flags, tiny=False)


def test_files_and_nested_folders(script, checkpoint, tmp_path):
    root, out = tmp_path / "my photos", tmp_path / "out"
    draw(root / "a.jpg")
    draw(root / "deep" / "b é.png", size=(30, 50))
    draw(tmp_path / "single.webp")
    code, text, _ = predict(script, root, tmp_path / "single.webp", "--out", out, "--checkpoint", checkpoint, "--json")
    lines = [json.loads(line) for line in text.splitlines()]
    assert code == 0 and [line["size"] for line in lines] == [[60, 40], [30, 50], [60, 40]]
    for name in ("a", "deep/b é", "single"):
        mask = masks.read(out / "masks" / f"{name}.png")
        with Image.open(out / "cutouts" / f"{name}.png") as cut, Image.open(out / "overlays" / f"{name}.jpg") as over:
            assert cut.mode == "RGBA" and cut.size == over.size == mask.shape[::-1]
            assert (np.array(cut)[..., 3] == 255 * mask).all()
    for line in lines:
        mask = masks.read(line["mask"]) == 1
        assert line["area"] == pytest.approx(mask.mean(), abs=1e-4) and line["box"] == metrics.box(mask)
        assert 0 <= line["certainty"] <= 1


def test_class_score_and_heat_map_with_a_classifier(script, chain_run, tmp_path):
    """A classifier beside a segmenter's run, or one that is named, names the photos; --cam shows where."""
    classifier = chain_run("train_classifier_37_class")
    runs_root = classifier.parents[1]
    segmenter, out = chain_run("train_on_37CCAM"), tmp_path / "out"
    draw(tmp_path / "photos" / "a.jpg")
    flags = (tmp_path / "photos", "--out", out, "--no-amp")
    code, text, err = predict(script, *flags, "--run", segmenter, "--json", "--fast")
    assert code == 0 and json.loads(text)["score"] > 0, err
    code, text, err = predict(
        script, *flags, "--run", segmenter, "--json", "--fast", "--classifier", classifier, "--out", tmp_path / "named"
    )
    assert code == 0, err
    line = json.loads(text)
    known = prediction.Recogniser(classifier / "checkpoint.pt").classes
    assert line["class"] in known and 1 / len(known) <= line["score"] <= 1
    code, _, err = predict(script, *flags, "--runs-root", runs_root, "--classifier", classifier, "--cam", known[1])
    with Image.open(out / "cams" / known[1] / "a.jpg") as heat:
        assert code == 0 and heat.size == (60, 40) and f"1 cams/{known[1]}" in err
    code, _, err = predict(script, *flags, "--runs-root", runs_root, "--cam", "unicorn", "--out", tmp_path / "new")
    assert code == 2 and "unknown class 'unicorn'" in err
    code, _, err = predict(script, *flags, "--runs-root", tmp_path / "none", "--cam", known[1])
    assert code == 2 and "--cam wants a classifier" in err
    alone = shutil.copytree(segmenter, tmp_path / "others" / segmenter.parent.name / segmenter.name)
    words = ("--runs-root", runs_root, "--run", alone, "--cam", known[1])  # a classifier of other photos is there
    code, _, err = predict(script, *flags, *words)
    assert code == 2 and f"--cam wants a classifier, and none is beside {alone}" in err
    code, _, err = predict(script, *flags, "--run", runs_root)
    assert code == 2 and "a run directory is one such as" in err and len(err.splitlines()) == 1


def test_done_photos_are_passed_over_and_broken_ones_named(script, checkpoint, tmp_path):
    root, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a", "b", "c"):
        draw(root / f"{name}.jpg")
    (root / "b.jpg").write_bytes((root / "b.jpg").read_bytes()[:300])
    flags = (root, "--out", out, "--checkpoint", checkpoint, "--fast", "--no-pictures")
    code, _, err = predict(script, *flags)
    assert code == 1 and "left out" in err and "b.jpg" in err and "2 masks" in err
    assert sorted(path.name for path in out.rglob("*.*")) == ["a.png", "c.png", "made_of.json"]
    draw(root / "b.jpg")
    code, _, err = predict(script, *flags)
    assert code == 0 and "1 photo to do, 2 done before" in err
    before = (out / "masks" / "a.png").read_bytes()
    draw(root / "a.jpg", size=(70, 50))  # another picture of the same name
    (out / "overlays").mkdir()
    (out / "overlays" / "a.jpg").touch()  # of the picture before
    code, _, err = predict(script, *flags)
    assert code == 0 and "1 photo to do, 2 done before" in err
    assert (out / "masks" / "a.png").read_bytes() != before and not (out / "overlays" / "a.jpg").exists()
    assert (out / "replaced" / "1" / "masks" / "a.png").read_bytes() == before  # somebody may have corrected it
    os.utime(root / "a.jpg", (1, 1))  # and once more: what was kept is not written over
    assert predict(script, *flags)[0] == 0 and (out / "replaced" / "2" / "masks" / "a.png").is_file()
    assert (out / "replaced" / "1" / "masks" / "a.png").read_bytes() == before
    assert "1 photo changed since (a); what was made of them is in" in err
    code, _, err = predict(script, root, "--out", tmp_path, *flags[3:])  # above the photos
    assert code == 0 and "3 photos to do" in err
    for name in ("a", "d"):  # another folder's a.jpg is another photo
        draw(tmp_path / "others" / f"{name}.jpg")
    code, _, err = predict(script, tmp_path / "others", *flags[1:])
    assert code == 2 and f"a.png is of {root / 'a.jpg'}; give another --out" in err
    checkpoint = files.resolved(checkpoint)
    (tmp_path / "link.pt").symlink_to(checkpoint)  # the same one
    code, _, err = predict(script, *flags[:4], tmp_path / "link.pt", *flags[5:])
    assert code == 0 and "0 photos to do" in err
    code, _, err = predict(script, *flags[:-2])  # not --fast
    assert code == 2 and "was made with checkpoint" in err and "--fast True, --empty-below 0.8, not" in err


def test_a_corrected_mask_follows_its_photo_to_another_name(script, checkpoint, tmp_path):
    """Beside a.png, a.jpg's mask is named with the suffix; with two folders, with the folder."""
    root, out = tmp_path / "photos", tmp_path / "out"
    draw(root / "a.jpg")
    flags = ("--out", out, "--checkpoint", checkpoint, "--fast")
    assert predict(script, root, *flags)[0] == 0
    corrected = np.zeros_like(masks.read(out / "masks" / "a.png"))
    corrected[3:9, 4:8] = 1
    masks.save(out / "masks" / "a.png", corrected)
    draw(root / "a.png")
    code, _, err = predict(script, root, *flags)
    assert code == 0 and "2 photos to do, 0 done before" in err  # the pictures of the corrected one are made again
    assert np.array_equal(masks.read(out / "masks" / "a.jpg.png"), corrected)
    draw(tmp_path / "more" / "b.jpg")
    code, _, err = predict(script, root, tmp_path / "more", *flags)
    assert code == 0 and "1 photo to do, 2 done before" in err
    assert np.array_equal(masks.read(out / "masks" / "photos" / "a.jpg.png"), corrected)
    assert (out / "overlays" / "photos" / "a.jpg.jpg").is_file() and not (out / "masks" / "a.png").exists()


def test_masks_beside_photos_are_no_photos(script, checkpoint, tmp_path):
    root, out = tmp_path / "photos", tmp_path / "out"
    draw(root / "mugs" / "a.jpg")
    draw(root / "masks" / "mugs" / "a.png")
    draw(root / "masks" / "more.png")
    code, _, err = predict(script, root, "--out", out, "--checkpoint", checkpoint, "--fast", "--no-pictures")
    assert code == 0 and "left out 1 mask in" in err
    assert sorted(path.name for path in (out / "masks").rglob("*.png")) == ["a.png", "more.png"]


def test_photos_and_outputs_that_go_meanwhile(script, checkpoint, tmp_path, monkeypatch):
    root, out, decode = tmp_path / "photos", tmp_path / "out", decoding.decode
    for name in ("a", "b"):
        draw(root / f"{name}.png", size=(1100, 40))

    def decode_once(path, **options):
        found = decode(path, **options)
        if path.stem == "b":
            path.unlink()
        return found

    monkeypatch.setattr(decoding, "decode", decode_once)
    flags = (root, "--out", out, "--checkpoint", checkpoint, "--fast", "--no-pictures")
    code, _, err = predict(script, *flags)
    assert code == 1 and "left out" in err and "b.png: no such file" in err and "1 masks" in err
    (out / "made_of.json").unlink()
    with pytest.raises(InputError, match="has vanished while it was written"):
        manifest.say_done(out, "masks", 1)


def test_masks_stay_while_their_photos_are_out_of_reach(script, checkpoint, tmp_path):
    """As when a link leads to a disk that is not mounted."""
    root, out = tmp_path / "photos", tmp_path / "out"
    photo = draw(tmp_path / "disk" / "a.jpg")
    root.mkdir()
    (root / "a.jpg").symlink_to(photo)
    flags = (root, "--out", out, "--checkpoint", checkpoint, "--fast", "--no-pictures")
    assert predict(script, *flags)[0] == 0
    photo.unlink()
    code, _, err = predict(script, *flags)
    assert code == 0 and "0 photos to do, 1 done before" in err and (out / "masks" / "a.png").exists()


@pytest.mark.parametrize("black_white", [False, True])  # as it was, or as most editors save it
def test_a_mask_that_was_corrected_by_hand_stays(script, checkpoint, tmp_path, black_white):
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "out"
    flags = (photo, "--out", out, "--checkpoint", checkpoint, "--fast")
    assert predict(script, *flags, "--no-pictures")[0] == 0
    corrected, place = np.zeros((40, 60), np.uint8), out / "masks" / "a.png"
    corrected[:20] = 1
    if black_white:
        Image.fromarray(255 * corrected).save(place)
    else:
        masks.save(place, corrected)
    before = place.read_bytes()
    code, text, _ = predict(script, *flags, "--json")
    assert code == 0 and json.loads(text)["area"] == 0.5 and place.read_bytes() == before
    with Image.open(out / "cutouts" / "a.png") as cut:
        assert (np.array(cut)[..., 3] == 255 * corrected).all()
    assert "0 photos to do, 1 done before" in predict(script, *flags)[2]
    Image.fromarray(255 - 255 * corrected).save(place)  # again, with all its files there
    later = (out / "cutouts" / "a.png").stat().st_mtime_ns + 10**9
    os.utime(place, ns=(later, later))
    assert "1 photo to do" in predict(script, *flags)[2]
    with Image.open(out / "cutouts" / "a.png") as cut:
        assert (np.array(cut)[..., 3] == 255 - 255 * corrected).all()


def test_what_is_made_again_does_not_take_corrections_with_it(script, checkpoint, tmp_path):
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "out"
    flags = (photo, "--out", out, "--checkpoint", checkpoint, "--fast")
    assert predict(script, *flags)[0] == 0
    assert "0 photos to do, 1 done before" in predict(script, *flags)[2]  # a mask is no newer than its pictures
    for name in ("1", "7", "notes"):
        (out / "replaced" / name).mkdir(parents=True)
    corrected = np.ones((40, 60), np.uint8)
    masks.save(out / "masks" / "a.png", corrected)
    code, _, err = predict(script, *flags, "--overwrite")
    assert code == 0 and "1 photo made anew (a); what was made of them is in" in err
    assert (masks.read(out / "replaced" / "8" / "masks" / "a.png") == corrected).all()


@pytest.mark.parametrize("further", [("--report",), ("--export", "voc")])
def test_a_photo_that_is_out_of_reach_does_not_stop_the_others(script, checkpoint, tmp_path, further):
    root, out = tmp_path / "photos", tmp_path / "out"
    photo = draw(tmp_path / "elsewhere" / "a.jpg")
    draw(root / "b.jpg")
    (root / "a.jpg").symlink_to(photo)
    flags = (root, "--out", out, "--checkpoint", checkpoint, "--fast", *further)
    assert predict(script, *flags)[0] == 0
    photo.unlink()
    code, _, err = predict(script, *flags)
    assert code == 1 and "a.jpg: no such file" in err and (out / "masks" / "a.png").exists()
    assert f"{further[0][2:]}: {out}" in err and "Traceback" not in err
    (root / "b.jpg").write_bytes(b"no photo")
    (out / "masks" / "b.png").unlink()
    assert predict(script, *flags)[0] == 1


@pytest.mark.parametrize(("size", "value", "line"), [
    ((30, 20), 1, "is 30 x 20 pixels, not 60 x 40 as its photo; delete and remake it"),
    ((60, 40), 7, "holds 7; expected 0 background, 1 pet, 255 uncertain"),
])  # fmt: skip
def test_a_mask_that_does_not_fit_is_one_line(script, checkpoint, tmp_path, size, value, line):
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "out"
    flags = (photo, "--out", out, "--checkpoint", checkpoint, "--fast")
    assert predict(script, *flags, "--no-pictures")[0] == 0
    masks.save(out / "masks" / "a.png", np.full(size[::-1], value, np.uint8))
    code, _, err = predict(script, *flags)
    assert code == 2 and line in err.splitlines()[-1]


def test_photos_that_no_jpeg_can_hold_have_smaller_overlays(script, checkpoint, tmp_path):
    photo, out = draw(tmp_path / "a.png", size=(66000, 16)), tmp_path / "out"
    assert predict(script, photo, "--out", out, "--checkpoint", checkpoint, "--fast")[0] == 0
    with Image.open(out / "masks" / "a.png") as mask, Image.open(out / "overlays" / "a.jpg") as overlay:
        assert mask.size == (66000, 16) and overlay.width == 65500


def test_a_damaged_map_is_one_line(script, checkpoint, tmp_path):
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "out"
    flags = (photo, "--out", out, "--checkpoint", checkpoint, "--fast", "--report")
    assert predict(script, *flags)[0] == 0
    (out / "maps" / "a.png").write_text("not an image")
    code, _, err = predict(script, *flags)
    assert code == 2 and "no readable map" in err.splitlines()[-1]
    (out / "maps" / "a.png").unlink()
    assert predict(script, *flags)[0] == 0


def test_a_network_sees_few_photos_of_a_long_list_at_once(checkpoint, monkeypatch):
    seen, segmenter = [], prediction.load(checkpoint, fast=True)
    segmenter.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    assert len(segmenter([Image.new("RGB", (20, 10))] * 40)) == 40 and max(seen) <= prediction.BATCH


def test_one_segmenter_is_named(script, checkpoint, tmp_path):
    photo = draw(tmp_path / "a.jpg")
    code, _, err = predict(script, photo, "--checkpoint", checkpoint, "--run", checkpoint.parent)
    assert code == 2 and "--run and --checkpoint both name a segmenter" in err


def test_what_an_earlier_call_was_not_asked_for_is_made(script, checkpoint, tmp_path):
    """The page needs maps to say how certain masks are; a later call may ask for pictures, too."""
    root, out = tmp_path / "photos", tmp_path / "out"
    flags = (root, "--out", out, "--checkpoint", checkpoint, "--fast", "--no-pictures")
    draw(root / "earlier.jpg")
    assert predict(script, *flags)[0] == 0
    draw(root / "deep" / "later.jpg", size=(900, 600))
    code, text, err = predict(script, *flags, "--report", "--json")
    assert code == 0 and f"report: {out / 'report.html'}" in err
    page = (out / "report.html").read_text(encoding="utf-8")
    cards = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["cards"]
    lines = sorted(map(json.loads, text.splitlines()), key=lambda line: line["certainty"])
    assert {(card["name"], card["kind"]) for card in cards} == {("deep/later", "deep"), ("earlier", "")}
    for card, line in zip(cards, lines, strict=True):
        assert line["photo"].endswith(f"{card['name']}.jpg") and card["iou"] is None
        assert card["sure"] == pytest.approx(100 * line["certainty"], abs=2) and card["map"].startswith("data:image")
    code, _, err = predict(script, *flags[:-1])
    assert code == 0 and "2 photos to do, 0 done before" in err and (out / "cutouts" / "deep" / "later.png").exists()
    code, _, err = predict(script, *flags[:-1], "--report")
    assert code == 0 and "0 photos to do, 2 done before" in err


def test_the_newest_weakly_trained_segmenter_is_taken(script, checkpoint, tmp_path):
    photo = draw(tmp_path / "a.jpg")
    runs_root = tmp_path / "runs"
    flags = (photo, "--out", tmp_path / "out", "--runs-root", runs_root)
    code, _, err = predict(script, *flags)
    assert code == 2 and "no finished segmenter" in err and len(err.splitlines()) == 1
    found = (
        ("train_on_ensemble", ["ensemble_masks"]),  # which is gone
        ("train_on_gt", []),
        ("train_on_ensemble_b", ["boxes_from_trimaps"]),
        ("ensemble_masks_b", ["boxes_from_trimaps"]),
        ("train_on_ensemble_c", ["ensemble_masks_b"]),
    )
    for name, upstreams in found:
        run = runs_root / "demo" / name / "seed0"
        run.mkdir(parents=True)
        (run / "checkpoint.pt").write_bytes(checkpoint.read_bytes())
        upstreams = {other: str(run.parent.parent / other / "seed0") for other in upstreams}
        config = {"settings": {}, "constants": {}, "photos": {}, "upstreams": upstreams}
        (run / "config.json").write_text(json.dumps(config))
        (run / "summary.json").write_text("{}")
    code, _, err = predict(script, *flags)
    assert code == 0 and "train_on_ensemble/seed0/checkpoint.pt" in err


@pytest.mark.parametrize(
    ("names", "line"), [([], "no photos in"), (["missing.jpg"], "no such photo or folder: .*missing.jpg")]
)
def test_nothing_to_do_is_one_line(tmp_path, names, line):
    with pytest.raises(InputError, match=line):
        predicted.photos_in([tmp_path / name for name in names] or [tmp_path], tmp_path / "out")


def test_photos_that_differ_in_their_suffix_keep_it(tmp_path):
    for name in ("x/a.jpg", "x/a.png", "y/a.jpg"):
        draw(tmp_path / name)
    found = predicted.photos_in([tmp_path / "x", tmp_path / "y"], tmp_path / "x" / "out")
    assert sorted(found) == ["x/a.jpg", "x/a.png", "y/a"]
    with pytest.raises(InputError, match="would write the same mask"):
        predicted.photos_in([tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg"], tmp_path / "out")
    (tmp_path / "z").symlink_to(tmp_path / "y")  # the same photo by two ways
    for names, once in (("y/a.jpg z/a.jpg", ["a"]), ("y y/a.jpg y/../z", ["a"]), ("x/a.png x", ["a.png", "a.jpg"])):
        found = predicted.photos_in([tmp_path / name for name in names.split()], tmp_path / "out")
        assert list(found) == once
    (tmp_path / "y" / "b.jpg").symlink_to(tmp_path / "y" / "a.jpg")
    assert sorted(predicted.photos_in([tmp_path / "y"], tmp_path / "out")) == ["a", "b"]


def test_two_calls_into_one_folder(script, checkpoint, tmp_path, monkeypatch):
    """The second is refused: both would note in made_of.json what they make."""
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "out"
    monkeypatch.setattr(locks.Lock.__init__, "__defaults__", (0.1,))
    code = f"from src.locks import Lock; Lock({str(out / '.predict.lock')!r}, 'x'); print('held', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        status, _, err = predict(script, photo, "--out", out, "--checkpoint", checkpoint)
    finally:
        other.kill()
        other.wait()
    assert status == 2 and f"{out} is in use by process {other.pid}" in err
    assert predict(script, photo, "--out", out, "--checkpoint", checkpoint, "--fast")[0] == 0
    assert not (out / ".predict.lock").exists()


def test_three_lines_of_python(checkpoint):
    segmenter = prediction.load(checkpoint.parent)
    images = [Image.new("RGB", (60, 40), "white"), Image.new("L", (30, 50))]
    found = segmenter(images)
    assert [mask.shape for mask in found] == [(40, 60), (50, 30)] and found[0].dtype == bool
    assert (segmenter(images[0]) == found[0]).all()
    batch = torch.randint(0, 255, (2, 3, 48, 48), dtype=torch.uint8)
    assert [mask.shape for mask in segmenter(batch)] == [(48, 48), (48, 48)] and segmenter([]) == []
    for odd in ("photo.jpg", np.zeros((40, 60, 3), np.uint8), batch.float(), batch[0], [batch[0]]):
        with pytest.raises(TypeError, match="expected a PIL image, a list of them, or a uint8 tensor"):
            segmenter(odd)


def test_masks_that_the_network_does_not_believe_are_left_empty(script, checkpoint, tmp_path):
    photo = draw(tmp_path / "a.jpg")
    line = f"\nEMPTY_BELOW = {prediction.EMPTY_BELOW}  # "  # the script's default is also that of Python and of exports
    assert line in (ROOT / "train_unet/predict.py").read_text()
    found = {}
    for below in (0, 0.8, 1):
        flags = ("--checkpoint", checkpoint, "--fast", "--json", "--no-amp", "--empty-below", below)
        code, text, err = predict(script, photo, "--out", tmp_path / f"{below}", *flags)
        assert code == 0, err
        found[below] = json.loads(text)
        mask = prediction.load(checkpoint, fast=True, amp=False, empty_below=below)(Image.open(photo))
        assert np.array_equal(mask, masks.read(tmp_path / f"{below}" / "masks" / "a.png") == 1)
    assert found[0]["area"] == found[0.8]["area"] > 0
    assert found[1]["area"] == 0 and found[1]["box"] is None and found[1]["certainty"] < 0.01
    assert predict(script, photo, "--out", tmp_path / "x", "--checkpoint", checkpoint, "--empty-below", 2)[0] == 2


def test_files_of_others_are_never_taken_for_ones_own(script, checkpoint, tmp_path):
    """Own photos may have masks/ of their own; a lock's name may lead elsewhere."""
    photo, flags = draw(tmp_path / "own" / "a.jpg"), ("--checkpoint", checkpoint, "--fast", "--no-pictures")
    masks.save(tmp_path / "own" / "masks" / "a.png", np.ones((40, 60), np.uint8))
    before = (tmp_path / "own" / "masks" / "a.png").read_bytes()
    code, _, err = predict(script, photo, "--out", tmp_path / "own", *flags)
    assert code == 2 and "masks is in the way, and not of an earlier call; give another --out" in err
    assert (tmp_path / "own" / "masks" / "a.png").read_bytes() == before
    out = tmp_path / "out"
    assert predict(script, photo, "--out", out, *flags)[0] == 0
    masks.save(out / "masks" / "b.png", np.ones((40, 60), np.uint8))
    code, _, err = predict(script, draw(tmp_path / "own" / "b.jpg"), "--out", out, *flags)
    assert code == 2 and "b.png is of something else; give another --out" in err
    (tmp_path / "precious.txt").write_text("precious")
    (out / ".predict.lock").symlink_to(tmp_path / "precious.txt")
    code, _, err = predict(script, photo, "--out", out, *flags)
    assert code == 2 and "is in the way of a lock" in err and (tmp_path / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize("kind", ["content", "pipe", "folder"])
def test_what_is_no_lock_stays(tmp_path, kind):
    path = tmp_path / "lock"
    {"content": lambda: path.write_text("mine"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(InputError, match="is in the way of a lock; move it"):
        locks.Lock(path, "x")
    assert path.exists() and (kind != "content" or path.read_text() == "mine")


def test_overwrite_makes_masks_anew(script, checkpoint, tmp_path):
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "out"
    flags = (photo, "--out", out, "--checkpoint", checkpoint, "--no-pictures")
    assert predict(script, *flags)[0] == 0
    (out / "masks" / "a.png").write_bytes(b"")  # as a full disk may leave it
    assert "1 photo to do" in predict(script, *flags)[2]
    code, _, err = predict(script, *flags, "--overwrite", "--fast")
    assert code == 0 and "1 photo to do, 0 done before" in err
    other = draw(tmp_path / "b.jpg")
    assert predict(script, other, *flags[1:], "--fast")[0] == 0
    code, _, err = predict(script, *flags, "--overwrite")  # b's is of --fast
    assert code == 2 and "was made with" in err and (out / "masks" / "a.png").exists()
    code, _, err = predict(script, *flags, "--fast")
    assert code == 0 and "0 photos to do" in err


@pytest.mark.parametrize(("names", "line"), [
    ([251 * "x" + ".png", 251 * "x" + ".bmp"], "rename it"), (["a.jpg", "a.png/b.jpg"], "rename it"),
])  # fmt: skip
def test_names_that_no_mask_can_have_are_refused_before_the_work(tmp_path, names, line):
    for name in names:
        draw(tmp_path / name)
    with pytest.raises(InputError, match=line):
        predicted.photos_in([tmp_path], tmp_path / "out")


def test_two_names_of_one_crc_do_not_share_a_temporary_file(tmp_path):
    """crc32 of "plumless.png" is that of "buckeroo.png"."""
    with files.writing(tmp_path / "plumless.png") as one, files.writing(tmp_path / "buckeroo.png") as other:
        one.write(b"one")
        other.write(b"other")
    assert (tmp_path / "plumless.png").read_bytes() == b"one"
    assert (tmp_path / "buckeroo.png").read_bytes() == b"other"


@pytest.mark.parametrize("name", ["../../x", ".."])
def test_a_class_cannot_lead_out_of_the_folder(script, tmp_path, name):
    settings, model = (
        type("Settings", (), {"backbone": "resnet18", "image_size": 48}),
        classifiers.untrained("resnet18", 1),
    )
    torch.save(classifiers.checkpoint(model, settings, [name]), tmp_path / "checkpoint.pt")
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "deep" / "out"
    code, _, err = predict(script, photo, "--out", out, "--cam", name, "--classifier", tmp_path)
    assert code == 2 and f"the class '{name}' cannot name a folder" in err and not out.exists()


def test_without_stderr_there_are_masks_as_well(script, checkpoint, tmp_path, monkeypatch):
    photo, out = draw(tmp_path / "a.jpg"), tmp_path / "out"
    monkeypatch.setattr(sys, "stderr", None)  # as after 2>&-
    assert predict(script, photo, "--out", out, "--checkpoint", checkpoint, "--fast", "--no-pictures")[0] == 0
    assert (out / "masks" / "a.png").exists()


def test_python_and_the_script_make_the_same_mask_of_a_large_photo(script, checkpoint, tmp_path):
    photo, out = draw(tmp_path / "a.png", size=(1400, 900)), tmp_path / "out"
    assert predict(script, photo, "--out", out, "--checkpoint", checkpoint, "--no-amp")[0] == 0
    mask = prediction.load(checkpoint, amp=False)(Image.open(photo))
    assert (mask == (masks.read(out / "masks" / "a.png") == 1)).all() and mask.shape == (900, 1400)


def test_the_outline_of_a_large_photo_follows_its_edges():
    rows, columns = np.mgrid[:1200, :1600]
    disk = (rows - 500) ** 2 + (columns - 700) ** 2 < 400**2
    large = np.where(disk[..., None], (200, 180, 160), (60, 80, 50)).astype(np.uint8)
    small = np.array(Image.fromarray(large).resize((200, 150), Image.Resampling.BILINEAR))
    prob = np.array(Image.fromarray(disk.astype(np.float32)).resize((50, 38)).resize((200, 150)))  # a blurred outline
    found = guided.upsample(prob, small, large)
    plain = np.array(Image.fromarray(prob).resize((1600, 1200), Image.Resampling.BILINEAR)) > 0.5
    iou = [(mask & disk).sum() / (mask | disk).sum() for mask in (plain, found)]
    assert iou[1] > 0.995 and iou[1] > iou[0]
