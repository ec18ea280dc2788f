"""Data roots of every layout: what is found, what is held out, what is named."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image, ImageFilter

import experiments
from src import InputError, data, metrics
from src.data import decoding
from src.data.splitting import splits_of
from src.postprocessing import masks
from src.report import pictures


def photo(path, size=(40, 30), colour="red", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def mask(path, values, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if mode == "P":
        image.putpalette([0] * 768)
    image.save(path)


@pytest.fixture
def root(settings, tmp_path):
    settings.data_root = tmp_path / "my photos"
    return settings.data_root


def test_a_flat_folder_in_any_format_and_script(settings, root):
    names = ["a b.jpg", "größe.png", "猫.webp", "nested.tiff", "five.bmp", "six.avif", "seven.JPEG", "eight.gif"]
    for name in names:
        photo(root / name)
    photo(root / ".hidden.jpg")
    (root / "notes.txt").write_text("not a photo")
    photos = data.load(settings)
    assert sorted(photos.names) == sorted(name.rpartition(".")[0] for name in names)
    assert photos.species_names == photos.breed_names == ["subject"] and not photos.has_truths()
    assert len(photos.trainval) + len(photos.test) == len(names)


def test_a_subfolder_a_class_with_background_and_masks(settings, root):
    for i in range(12):
        photo(root / ("mugs" if i % 2 else "tea pots") / "deep" / f"{i}.jpg")
    photo(root / "background" / "wall.jpg")
    mask(root / "masks" / "mugs" / "deep" / "1.png", np.eye(30, 40))
    mask(root / "masks" / "3.png", 255 * np.eye(30, 40), mode="L")
    photos = data.load(settings, background=True)
    assert photos.breed_names == ["mugs", "tea pots"] and len(photos.background) == 1
    assert photos.names[0] == "mugs/deep/1" and photos.breeds[0] == 0 and photos.breeds[-1] == 2
    assert [photos.names[i] for i in photos.with_truth(range(13))] == ["mugs/deep/1", "mugs/deep/3"]
    for i in photos.with_truth(range(13)):
        assert (masks.ground_truth(photos, i) == np.eye(30, 40)).all()


def test_outputs_and_thumbnails_below_the_photos_are_no_photos(settings, root):
    for i in range(6):
        photo(root / "mugs" / f"{i}.jpg")
        photo(root / "mugs" / "@eaDir" / f"{i}.jpg" / "SYNOPHOTO_THUMB_M.jpg")  # as network disks make them
        photo(root / "predicted" / "overlays" / "mugs" / f"{i}.jpg")
    (root / "predicted" / "made_of.json").write_text("{}")
    photos = data.load(settings)
    assert photos.names == [f"mugs/{i}" for i in range(6)] and photos.breed_names == ["mugs"]


def test_adding_a_photo_moves_no_other(settings, root):
    for i in range(30):
        photo(root / f"{i}.png")
    first = data.load(settings)
    before = {first.names[i] for i in first.test}
    assert 1 <= len(before) <= 15
    photo(root / "0a.png")
    then = data.load(settings)
    assert {then.names[i] for i in then.test} - {"0a"} == before


def test_a_given_split_is_kept(settings, root):
    for split, count in (("train", 3), ("test", 2)):
        for i in range(count):
            photo(root / split / "cup" / f"{i}.jpg")
    photos = data.load(settings)
    assert (len(photos.trainval), len(photos.test)) == (3, 2) and photos.names[-1] == "test/cup/1"


def test_val_is_held_out_and_yolo_has_its_photos_below_images(settings, root):
    for name in ("images/train/a.jpg", "images/train/b.jpg", "images/val/a.jpg"):
        photo(root / name)
    assert data.load(settings).breed_names == ["images"]
    (root / "labels").mkdir()
    photos = data.load(settings)
    assert photos.breed_names == ["subject"] and [photos.names[i] for i in photos.test] == ["images/val/a"]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["a.jpg", "a.bmp"], "two photos are named a: a.bmp and a.jpg"),
        (["a.jpg", "cups/b.jpg"], r"photos beside subfolders of photos \(a.jpg\)"),
        (["test/a.jpg"], "no trainval photo"),
        ([], "no photos in the data root"),
    ],
)
def test_a_folder_that_cannot_be_right(settings, root, files, line):
    root.mkdir()
    for name in files:
        photo(root / name)
    with pytest.raises(InputError, match=line):
        data.load(settings)


def test_what_lies_in_masks_and_is_none_is_named(settings, root, capfd):
    for i in range(6):
        photo(root / "hats" / f"{i}.jpg")
        photo(root / "masks" / f"{i}.jpg")  # a class of that name, or masks of another format
    assert not data.load(settings).has_truths()
    assert f"6 of 6 pictures in {root / 'masks'} are no PNG" in capfd.readouterr().out


def test_links_to_pipes_are_no_photos(settings, root):
    for i in range(6):
        photo(root / f"{i}.jpg")
    os.mkfifo(root / "pipe")
    (root / "linked.jpg").symlink_to(root / "pipe")
    assert len(data.load(settings).names) == 6


VOC = "<annotation>{}</annotation>"
OBJECT = "<object><name>{}</name></object>"


@pytest.fixture
def voc(root):
    base = root / "VOCdevkit" / "VOC2012"
    shown = {"2007_1": ["dog"], "2007_2": ["dog", "person"], "2007_3": ["cat", "cat"], "2007_4": []}
    for name, classes in shown.items():
        photo(base / "JPEGImages" / f"{name}.jpg")
        (base / "Annotations").mkdir(exist_ok=True)
        (base / "Annotations" / f"{name}.xml").write_text(VOC.format("".join(map(OBJECT.format, classes))))
    lists = base / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n2007_2\n2007_3\n")
    (lists / "val.txt").write_text("2007_4\n")
    values = np.zeros((30, 40))
    values[5:10], values[10] = 12, 255
    mask(base / "SegmentationClass" / "2007_4.png", values)
    return base


def test_pascal_voc(settings, voc, capsys):
    photos = data.load(settings)
    assert photos.names == ["2007_1", "2007_2", "2007_3", "2007_4"] and photos.species_names == ["cat", "dog"]
    assert photos.species.tolist() == [1, -1, 0, -1] and photos.trainval.tolist() == [0, 1, 2]
    assert "1 of 4 photos show several classes" in capsys.readouterr().out
    trimap = masks.read_trimap(photos, 3)
    assert trimap[0, 0] == 2 and trimap[7, 0] == 1 and trimap[10, 0] == 3
    with pytest.raises(InputError, match="2 photos .* have no class or several"):
        photos.heads_of(["cat", "dog"])


def test_voc_says_what_is_missing_or_damaged(settings, voc):
    (voc / "JPEGImages" / "2007_2.jpg").unlink()
    with pytest.raises(InputError, match="1 listed photo missing .*2007_2.*--skip-bad-photos"):
        data.load(settings)
    settings.skip_bad_photos = True
    assert len(data.load(settings).names) == 3
    (voc / "Annotations" / "2007_1.xml").write_text("<annotation>")
    with pytest.raises(InputError, match="2007_1.xml"):
        data.load(settings)


def test_a_voc_list_with_suffixes_and_photos_in_subfolders(settings, voc, capsys):
    (voc / "ImageSets" / "Main" / "val.txt").write_text("2007_4.jpg\n")
    photo(voc / "JPEGImages" / "more" / "b.jpg")
    photos = data.load(settings)
    assert [photos.names[i] for i in photos.test] == ["2007_4"]
    assert "left out 1 photo in subfolders of" in capsys.readouterr().out


def test_a_voc_list_that_only_tests_is_honoured(settings, voc):
    (voc / "ImageSets" / "Main" / "train.txt").unlink()
    photos = data.load(settings)
    assert [photos.names[i] for i in photos.test] == ["2007_4"] and len(photos.trainval) == 3


def test_a_layout_can_be_insisted_on(settings, voc):
    settings.layout = "folders"
    assert len(data.load(settings).names) == 5  # the mask, too, is an image
    settings.layout = "oxford"
    with pytest.raises(InputError, match="does not have the layout oxford"):
        data.load(settings)
    settings.layout = "coco"
    with pytest.raises(InputError, match="unknown layout 'coco'; one of auto, oxford, voc, folders"):
        data.load(settings)


def test_photos_and_masks_are_turned_upright(settings, root):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    path = photo(root / "phone.jpg", exif=exif)
    photo(root / "other.jpg")
    assert decoding.decode(path).shape == (40, 30, 3) and decoding.upright_size(path) == (30, 40)
    values = np.zeros((30, 40), np.uint8)
    values[:10] = 1
    (root / "masks").mkdir()
    Image.fromarray(values).save(root / "masks" / "phone.png", exif=exif)
    photos = data.load(settings)
    trimap = masks.read_trimap(photos, photos.names.index("phone"))
    assert trimap.shape == (40, 30) and trimap[0, -1] == 1 and trimap[0, 0] == 2


def test_greys_of_16_bits_keep_their_range(tmp_path):
    values = np.full((20, 20), 32768, np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert abs(int(decoding.decode(tmp_path / "grey.png").mean()) - 127) <= 1


def test_a_large_photo_is_shrunk_while_it_is_read(tmp_path):
    path = photo(tmp_path / "large.jpg", size=(4000, 3000))
    assert decoding.decode(path, max_side=500).shape == (375, 500, 3)


def test_own_photos_to_masks_and_a_segmenter(script, drawn, tmp_path):
    root = script.data_root = tmp_path / "my pets"
    for path in sorted((drawn / "oxford-iiit-pet" / "images").iterdir())[:12]:
        kind = "cats" if "cat" in path.name else "dogs"
        (root / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / kind)
    photo(root / "background" / "lawn.jpg")
    script.runs_root = tmp_path / "my runs"
    code, out, err = script("reproduce.py", "--quick", "--list", "--passes", "1")
    assert code == 0 and "trainings 1 times as long as usual (--passes), about" in out, err  # 12 photos want more
    code, out, err = script("reproduce.py", "--quick", "--passes", "0.1", "--no-amp", "--export", "voc")
    assert code == 0, err
    assert "photos to learn from" in out and "only your eyes" in out
    run = script.runs_root / "train_on_ensemble_quick" / "seed0"
    assert f"NEW_PHOTOS --run '{run}'" in out
    assert len(list((run / "masks_crf").rglob("*.png"))) == 12 and (script.runs_root / "least_sure.png").exists()
    base = script.runs_root / "voc" / "VOCdevkit" / "VOC2012"
    assert len(list((base / "SegmentationClass").iterdir())) == 12 and "cats:" in (base / "labelmap.txt").read_text()
    assert f"report: {script.runs_root / 'report.html'}" in out and (script.runs_root / "report.html").exists()
    assert {path.parent.parent.name for path in script.runs_root.rglob("summary.json")} == {
        "train_ccam_pretrained", "train_ccam_on_specific_37_class", "ensemble_masks_quick", "train_on_ensemble_quick",
    }  # fmt: skip
    for path in (run / "masks_crf").rglob("*.png"):  # the truth comes later
        mask(root / "masks" / path.relative_to(run / "masks_crf"), masks.read(path))
    code, out, err = script("reproduce.py", "--quick", "--passes", "0.1", "--no-amp")
    assert code == 0 and out.count("not scored against today's ground truth") == 2, err
    photo(root / "background" / "road.jpg")
    code, _, err = script("reproduce.py", "--quick", "--passes", "0.1", "--no-amp")
    assert code == 2 and "the background scenes of" in err and "have changed since" in err
    photo(root / "cats" / "one more.jpg")
    code, _, err = script("reproduce.py", "--quick", "--passes", "0.1", "--no-amp")
    assert code == 2 and "the photos of" in err


@pytest.mark.parametrize(
    ("classes", "background", "quick", "members"),
    [
        (2, True, True, 2),
        (1, True, True, 1),
        (0, False, False, 1),
        (1, False, False, 1),
        (2, False, False, 2),
        (2, True, False, 3),
    ],
)
def test_own_photos_get_the_members_that_they_allow(classes, background, quick, members):
    chain = experiments.own(classes, background, quick)
    assert len(chain[-2].reads) == members and set(chain[-2].reads) < {e.name for e in chain}
    assert len({e.name for e in chain}) == len(chain) and sum("ensemble" in e.name for e in chain) == 2
    flags = chain[-1].flags
    assert ("--rounds" in flags) == quick and ("--scenes" in flags) == background


# --- folders that mean something else, and names that nobody expects ---


@pytest.mark.parametrize(
    ("paths", "line"),
    [
        (["Train/a.png", "Test/b.png"], "rename .*T.* to lower case"),
        (["train/a.png", "more/b.png"], "1 photo outside train/, test/ and val/ .more/b.png.*move them"),
        (["train/mug/a.png", "train/background/b.png"], "background is no class"),
        (["images/a.png", "annotations/trimaps/a.png"], "give the folder above it"),
        (["images/train/a.png", "labels/", "more/b.png"], "1 photo outside images/ .more/b.png.*move"),
        (["a/1.png", "b/1.png", "masks/1.png"], "masks/1.png fits a/1 and b/1"),
    ],
)
def test_folders_that_would_be_misread(settings, tmp_path, paths, line):
    settings.data_root = tmp_path / "photos"
    for path in paths:
        if path.endswith("/"):
            (settings.data_root / path).mkdir()
        else:
            photo(settings.data_root / path)
    with pytest.raises(InputError, match=line):
        data.load(settings)


def test_linked_folders_odd_names_and_masks_of_any_case(settings, tmp_path, capsys):
    settings.data_root = root = tmp_path / "photos"
    photo(tmp_path / "elsewhere" / "b.png")
    photo(root / "one" / "$^$.png")
    photo(root / "one" / "a.png")
    (root / "two").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "two" / "above").symlink_to(root, target_is_directory=True)
    (root / "masks" / "one").mkdir(parents=True)
    Image.new("L", (40, 30), 255).save(root / "masks" / "one" / "a.PNG", format="PNG")
    Image.new("L", (40, 30), 255).save(root / "masks" / "nobody.png")
    photos = data.load(settings)
    assert sorted(photos.names) == ["one/$^$", "one/a", "two/b"] and photos.has_truths()
    assert "1 of 2 masks in" in capsys.readouterr().out
    index = np.arange(3)
    for suffix in pictures.SUFFIXES:
        pictures.sheet(tmp_path / f"sheet{suffix}", photos, index, [], 3)
    assert len(list(tmp_path.glob("sheet.*"))) == len(pictures.SUFFIXES)
    Image.new("L", (9, 30), 255).save(root / "masks" / "one" / "a.PNG", format="PNG")
    with pytest.raises(InputError, match="a.PNG is 9 x 30, its photo 40 x 30"):
        masks.check_truths(photos)


def test_a_palette_with_white_first(settings, tmp_path):
    settings.data_root = root = tmp_path / "photos"
    photo(root / "a.png")
    values = np.ones((30, 40), np.uint8)
    values[:10] = 0
    image = Image.fromarray(values)
    image.putpalette([255, 255, 255, 0, 0, 0] + [0] * 762)  # white, the subject, is index 0
    (root / "masks").mkdir()
    image.save(root / "masks" / "a.png")
    assert (masks.ground_truth(data.load(settings), 0) == (values == 0)).all()


@pytest.mark.parametrize("levels", [[90, 180], range(1, 25)])
def test_greys_with_soft_edges_are_cut_in_the_middle(settings, tmp_path, levels):
    settings.data_root = root = tmp_path / "photos"
    photo(root / "a.png")
    values = np.zeros((30, 40), np.uint8)
    values[10:] = 255
    values[9, : len(levels)] = levels
    (root / "masks").mkdir()
    Image.fromarray(values).save(root / "masks" / "a.png")
    trimap = masks.read_trimap(data.load(settings), 0)
    assert ((trimap == metrics.PET) == (values > 127)).all() and metrics.BORDER not in trimap
    small = masks.read_trimap(data.load(settings), 0, size=10)
    assert small.shape == (10, 10) and set(np.unique(small)) == {metrics.PET, metrics.BACKGROUND}
    values[values > 200] = 17  # of a class, with a few unsure pixels
    values[0, :3] = 255
    Image.fromarray(values).save(root / "masks" / "a.png")
    assert (masks.read_trimap(data.load(settings), 0) == metrics.BORDER).sum() == 3


@pytest.mark.parametrize("height", [4, 20])
def test_greys_of_thin_blurred_subjects_and_numbered_objects(settings, tmp_path, height):
    settings.data_root = root = tmp_path / "photos"
    photo(root / "a.png")
    (root / "masks").mkdir()
    bar = np.zeros((30, 40), np.uint8)
    bar[5 : 5 + height, 8:] = 255
    soft = Image.fromarray(bar).filter(ImageFilter.GaussianBlur(2))  # the thin one is nowhere white
    soft.save(root / "masks" / "a.png")
    trimap = masks.read_trimap(data.load(settings), 0)
    assert ((trimap == metrics.PET) == (np.array(soft) > 127)).all() and metrics.BORDER not in trimap
    numbers = np.kron(np.arange(1, 200)[:48].reshape(6, 8) * 4, np.ones((5, 5))).astype(np.uint8)
    numbers[:2] = 0
    Image.fromarray(numbers).save(root / "masks" / "a.png")
    assert ((masks.read_trimap(data.load(settings), 0) == metrics.PET) == (numbers > 0)).all()


def test_twelve_bits_in_sixteen_are_not_black(tmp_path):
    for most in (255, 4095, 65535):
        Image.fromarray(np.linspace(0, most, 1200).reshape(30, 40).astype(np.uint16)).save(tmp_path / "a.png")
        found = decoding.decode(tmp_path / "a.png")
        assert found.min() == 0 and found.max() == 255 and abs(found.mean() - 127) < 1


def test_outputs_among_the_photos_are_no_ground_truth(settings, tmp_path):
    settings.data_root = root = tmp_path / "photos"
    photo(root / "a.png")
    photo(root / "masks" / "a.png")
    (root / "made_of.json").write_text("{}")
    with pytest.raises(InputError, match="also holds what predict.py wrote; move that into a folder of its own"):
        data.load(settings)


def test_a_mask_of_colours_is_refused_before_anything_is_trained(settings, tmp_path):
    settings.data_root = root = tmp_path / "photos"
    photo(root / "a.png")
    photo(root / "masks" / "a.png")
    with pytest.raises(InputError, match="a.png is RGB; expected one channel"):
        masks.check_truths(data.load(settings))


def test_a_name_of_no_encoding_has_a_split():
    assert set(splits_of([os.fsdecode(b"\xff"), "a", "b"]).values()) <= {"trainval", "test"}
    alone = next(name for name in "abcdefghijklmnop" if splits_of([name, "cat"])[name] == "test")
    assert splits_of([alone]) == {alone: "trainval"} and splits_of([]) == {}


def test_a_tiff_that_lies_on_a_side(tmp_path):
    image = Image.new("RGB", (40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.tif", exif=exif)
    image.save(tmp_path / "b.tif", tiffinfo={700: b'<x tiff:Orientation="6"/>'})  # XMP alone says so
    for name in ("a.tif", "b.tif"):
        assert decoding.upright_size(tmp_path / name) == decoding.decode(tmp_path / name).shape[1::-1] == (60, 40)
        assert decoding.upright(Image.open(tmp_path / name)).size == (60, 40)  # as a notebook has it, not yet loaded


def test_a_float_tiff_with_pixels_that_are_no_number(tmp_path):
    values = np.full((40, 30), 200, np.float32)
    values[0], values[1] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = decoding.decode(tmp_path / "a.tif")
    assert (found[:2] == 0).all() and (found[2:] == 255).all()


def test_runs_among_photos_and_several_years_are_refused(settings, tmp_path):
    settings.data_root = root = tmp_path / "photos"
    photo(root / "a.png")
    for settings.runs_root in (root / "runs", root):
        with pytest.raises(InputError, match="lies among the photos; give another --runs-root"):
            data.load(settings)
    for year in ("VOC2007", "VOC2012"):
        photo(tmp_path / "voc" / year / "JPEGImages" / "a.jpg")
    settings.data_root = tmp_path / "voc"
    with pytest.raises(InputError, match="has VOC2007, VOC2012; give one of them"):
        data.load(settings)


def test_an_empty_folder_of_a_class_is_named(settings, tmp_path, capsys):
    root = settings.data_root = tmp_path / "photos"
    photo(root / "cats" / "a.png")
    (root / "dogs").mkdir()
    (root / "masks").mkdir()
    assert data.load(settings).breed_names == ["cats"]
    assert f"no photo in dogs of {root}" in capsys.readouterr().out
