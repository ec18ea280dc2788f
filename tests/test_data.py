"""Reading a data root: odd photos are read, bad ones are named, counted and refused."""

import functools
import hashlib
import http.server
import re
import shutil
import struct
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageOps

from src import InputError, compute, data
from src.data import decoding, download
from src.drawings import sample


def a_photo(root):
    return sorted((root / "oxford-iiit-pet" / "images").iterdir())[0]


def test_labels_splits_and_pixels(settings, data_root):
    photos = data.load(settings, background=True)
    assert len(photos.trainval) == 12 and len(photos.test) == 8 and len(photos.background) == 4
    assert photos.species_names == ["cat", "dog"] and len(photos.breed_names) == 4
    assert set(photos.species[photos.background]) == {2} and set(photos.breeds[photos.background]) == {4}
    batch = photos.batch([0, photos.background[-1]])
    assert batch.shape == (2, 3, 48, 48) and batch.float().std() > 10
    expected = decoding.decode(photos.paths[0], 48).transpose(2, 0, 1)
    assert np.array_equal(batch[0].numpy(), expected)


def test_torchvision_reads_the_same_layout(data_root):
    dataset = torchvision.datasets.OxfordIIITPet(data_root, "test", ("category", "segmentation"))
    image, (category, trimap) = dataset[0]
    assert len(dataset) == 8 and image.size == trimap.size and category == 0
    assert set(np.unique(trimap)) <= {1, 2, 3}


def test_cache_is_made_once_and_again_when_a_photo_changes(settings, data_root, monkeypatch):
    data.load(settings)
    decoded = []
    original = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *a: decoded.append(a) or original(*a))
    data.load(settings)
    assert not decoded
    Image.new("RGB", (30, 30), "red").save(a_photo(data_root))
    photos = data.load(settings)
    assert len(decoded) == 20
    first = photos.names.index(a_photo(data_root).stem)
    assert photos.batch([first])[0, 0].float().mean() > 200


def test_a_photo_that_can_be_read_again_is_not_left_out_for_ever(settings, data_root, monkeypatch):
    settings.skip_bad_photos = True
    original, lost = decoding.decode, a_photo(data_root)

    def without_permission(path, *rest):
        if path == lost:
            raise InputError(f"{path.name}: no permission to read it")
        return original(path, *rest)

    monkeypatch.setattr(decoding, "decode", without_permission)
    assert lost.stem not in data.load(settings).names
    monkeypatch.setattr(decoding, "decode", original)
    photos = data.load(settings)
    assert lost.stem in photos.names and photos.batch([photos.names.index(lost.stem)]).float().std() > 0
    monkeypatch.setattr(decoding, "decode", None)  # and what was mended stays
    assert lost.stem in data.load(settings).names


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1", "I;16"])
def test_every_kind_of_photo_is_read_as_rgb(tmp_path, mode):
    image = Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20))
    path = tmp_path / "photo.tiff"
    (Image.fromarray(np.zeros((20, 20), np.uint16)) if mode == "I;16" else image.convert(mode)).save(path)
    assert decoding.decode(path, 16).shape == (16, 16, 3)


def spoil(path, how):
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:500])
    elif how == "not an image":
        path.write_text("hello")
    elif how == "empty":
        path.write_bytes(b"")
    else:
        Image.new("RGB", (1, 50)).save(path)


@pytest.mark.parametrize("how", ["cut off", "not an image", "empty", "1 pixel wide"])
def test_bad_photo_is_named_counted_and_can_be_skipped(settings, data_root, capsys, how):
    path = a_photo(data_root)
    spoil(path, how)
    with pytest.raises(InputError, match=rf"1 photo of 20 unreadable: .*{path.name}: .*--skip-bad-photos"):
        data.load(settings)
    settings.skip_bad_photos = True
    photos = data.load(settings)
    assert len(photos.names) == 19 and path.stem not in photos.names
    assert photos.batch(range(19)).shape[0] == 19
    assert "left out 1 photo" in capsys.readouterr().out


def test_many_bad_photos_are_listed(settings, data_root):
    paths = sorted((data_root / "oxford-iiit-pet" / "images").iterdir())[:5]
    for path in paths:
        path.write_text("hello")
    with pytest.raises(InputError, match=r"5 photos of 20 unreadable: .*all of them in .*unreadable.txt") as error:
        data.load(settings)
    listed = Path(re.search(r"in (\S+unreadable.txt)", str(error.value))[1]).read_text().splitlines()
    assert listed == [f"{path}: not an image" for path in paths]


def test_an_odd_tag_beside_the_orientation_costs_no_photo(tmp_path):
    """Pillow's own turning writes all tags anew, and fails for a description that is a number."""
    entries = struct.pack("<HHHIIHHII", 2, 0x010E, 12, 1, 38, 0x0112, 3, 1, 6) + bytes(4)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entries + struct.pack("<d", 1.5)
    values = np.zeros((20, 30, 3), np.uint8)
    values[:, :15] = 200
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif()[0x0112] == 6
    found = decoding.decode(tmp_path / "a.jpg")
    assert decoding.upright_size(tmp_path / "a.jpg") == (20, 30) and found.shape == (30, 20, 3)
    assert found[:14].min() > 150 and found[16:].max() < 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_pillow_turns_them(tmp_path, orientation):
    image = Image.effect_noise((30, 20), 80)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(decoding.decode(tmp_path / "a.png"), expected)


def test_heic_without_its_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "READS_HEIC", False)
    (tmp_path / "a.HEIC").write_bytes(b"....ftypheic")
    assert decoding.is_photo(tmp_path / "a.HEIC")
    with pytest.raises(InputError, match=r"a.HEIC: needs the package pillow-heif"):
        decoding.decode(tmp_path / "a.HEIC")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_a_damaged_exif_block_costs_no_photo(tmp_path, suffix):
    Image.new("RGB", (30, 20), "red").save(tmp_path / f"a{suffix}", exif=b"Exif\0\0garbage")
    assert decoding.decode(tmp_path / f"a{suffix}").shape == (20, 30, 3)
    assert decoding.upright_size(tmp_path / f"a{suffix}") == (30, 20)


@pytest.mark.parametrize(("old", "new", "line"), [
    ("cat_breed01_1 1 ", "cat_breed01_1 9 ", "the breed cat_breed01 as 1, 9"),
    ("cat_breed01_1 1 ", "cat_breed01_1 2 ", "the (class|breed) (2|cat_breed01) as"),
])  # fmt: skip
def test_classes_and_breeds_fit_one_to_one(settings, data_root, old, new, line):
    path = data_root / "oxford-iiit-pet" / "annotations" / "trainval.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=line):
        data.load(settings)


def test_scoring_alone_wants_test_photos(settings, data_root):
    (data_root / "oxford-iiit-pet" / "annotations" / "test.txt").write_text("")
    settings.skip_bad_photos = True
    with pytest.raises(InputError, match="--test-only, but .* has no test photo"):
        data.load(settings, test_only=True)


def test_photos_and_label_lines_must_match(settings, data_root):
    shutil.copy(a_photo(data_root), data_root / "oxford-iiit-pet" / "images" / "stranger_1.jpg")
    with pytest.raises(InputError, match=r"1 photo\(s\) without a label line .*stranger_1.*--skip-bad-photos"):
        data.load(settings)
    (data_root / "oxford-iiit-pet" / "images" / "stranger_1.jpg").unlink()
    gone = a_photo(data_root)
    gone.unlink()
    with pytest.raises(InputError, match=rf"1 label line\(s\) without a photo .*{gone.stem}"):
        data.load(settings)
    settings.skip_bad_photos = True
    assert len(data.load(settings).names) == 19


def test_missing_and_empty_data_roots(settings, tmp_path):
    settings.data_root = tmp_path / "nowhere"
    with pytest.raises(InputError, match="no data root"):
        data.load(settings)
    settings.data_root.mkdir()
    with pytest.raises(InputError, match="no photos in the data root"):
        data.load(settings)


def test_bad_label_line(settings, data_root):
    path = data_root / "oxford-iiit-pet" / "annotations" / "test.txt"
    path.write_text("# comment\n\nAbyssinian_1 one 1 1\n")
    with pytest.raises(InputError, match=r"test.txt, line 3: expected 'name class species'"):
        data.load(settings)


def test_batches_hold_every_photo_and_none_alone():
    made = data.batches(np.arange(33), 16, torch.Generator().manual_seed(0))
    assert sorted(np.concatenate(made)) == list(range(33)) and [len(b) for b in made] == [11, 11, 11]


def test_after_ctrl_c_work_that_is_not_begun_is_left():
    done = []

    def work(i):
        time.sleep(0.1)
        done.append(i)

    with pytest.raises(KeyboardInterrupt), compute.threads(1) as pool:
        for i in range(100):
            pool.submit(work, i)
        raise KeyboardInterrupt
    assert len(done) < 5


def test_own_files_where_the_sample_is_drawn_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ROOT", tmp_path)
    own = tmp_path / "data" / "sample" / "mine.jpg"
    own.parent.mkdir(parents=True)
    own.touch()
    with pytest.raises(InputError, match="move what it holds away"):
        download.prepare(own.parent)
    assert own.exists() and not (tmp_path / "data" / "download.lock").exists()


def test_sample_is_deterministic_and_its_trimaps_are_exact(tmp_path):
    for name in ("a", "b"):
        sample.draw(tmp_path / name, breeds=2, trainval=1, test=1, background=1)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 3 + 4 + 4 + 1
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    trimap = sample.trimap(mask)
    assert trimap[20, 20] == 1 and trimap[0, 0] == 2 and (trimap == 3).sum() == 26**2 - 14**2


# --- downloads: archives of the real layout, built small ---


def oxford_archives(drawn, folder):
    """images.tar.gz and annotations.tar.gz as their authors pack them, with what is odd in them."""
    tree = folder / "tree"
    shutil.copytree(drawn / "oxford-iiit-pet", tree)
    png_inside = sorted((tree / "images").iterdir())[1]
    Image.new("RGBA", (40, 30), "green").save(png_inside, format="PNG")  # another format under a .jpg name
    (tree / "images" / "Abyssinian_100.mat").write_bytes(b"MATLAB")
    shutil.copy(png_inside, tree / "images" / "nobody_1.jpg")  # a photo that no list labels
    (tree / "annotations" / "trimaps" / "._cat_breed01_1.png").write_bytes(b"\0\5\x16\7")
    made = []
    for name in ("images", "annotations"):
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as tar:
            tar.add(tree / name, name)
        made.append(folder / f"{name}.tar.gz")
    return made


class Handler(http.server.SimpleHTTPRequestHandler):
    """A server that goes on where it is asked to, and whose connection breaks once after `breaks` bytes."""

    breaks = 0
    asked = []

    def do_GET(self):
        try:
            content = Path(self.translate_path(self.path)).read_bytes()
        except FileNotFoundError:
            return self.send_error(404)
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.asked.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : Handler.breaks or None])
        Handler.breaks = 0


@pytest.fixture
def address(tmp_path):
    """The files of tmp_path, served over HTTP on this machine."""
    handler = functools.partial(Handler, directory=tmp_path)
    Handler.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def oxford(drawn, tmp_path, monkeypatch, address):
    archives = oxford_archives(drawn, tmp_path)
    resources = tuple((f"{address}/{path.name}", hashlib.md5(path.read_bytes()).hexdigest()) for path in archives)
    monkeypatch.setattr(torchvision.datasets.OxfordIIITPet, "_RESOURCES", resources)
    return tmp_path / "home", archives


def test_oxford_pets_are_downloaded_and_read(oxford, settings):
    home, _ = oxford
    home.mkdir()
    download.oxford_pets(home)
    assert {p.suffix for p in (home / "oxford-iiit-pet" / "images").iterdir()} == {".jpg"}
    assert not (home / "oxford-iiit-pet.part").exists()
    settings.data_root = home
    assert len(data.load(settings).names) == 20


def test_damaged_oxford_archive_is_refused_and_the_next_try_works(oxford):
    home, archives = oxford
    home.mkdir()
    whole = archives[0].read_bytes()
    archives[0].write_bytes(whole[:-100])  # cut off on the way: its MD5 is wrong
    with pytest.raises(InputError, match="Oxford-IIIT Pet was not downloaded"):
        download.oxford_pets(home)
    assert not (home / "oxford-iiit-pet").exists()
    archives[0].write_bytes(whole)
    download.oxford_pets(home)
    assert (home / "oxford-iiit-pet" / "annotations" / "test.txt").is_file()


def stanford_archive(drawn, path, count=4):
    with tarfile.open(path, "w:gz") as tar:
        for i, photo in enumerate(sorted((drawn / "background" / "images").iterdir())[:count]):
            tar.add(photo, f"iccv09Data/images/{i}.jpg")
            tar.add(photo, f"iccv09Data/labels/{i}.regions.txt")
    return path


def test_backgrounds_are_downloaded(drawn, tmp_path, address):
    archive = stanford_archive(drawn, tmp_path / "iccv09Data.tar.gz")
    download.backgrounds(tmp_path / "home", f"{address}/{archive.name}", expected=4)
    assert len(list((tmp_path / "home" / "background" / "images").iterdir())) == 4
    assert not (tmp_path / "home" / "background.part").exists()


def test_a_broken_download_goes_on(drawn, tmp_path, address, monkeypatch):
    archive = stanford_archive(drawn, tmp_path / "iccv09Data.tar.gz")
    monkeypatch.setattr(Handler, "breaks", 1000)
    fetch = [tmp_path / "home", f"{address}/{archive.name}", 4]
    with pytest.raises(InputError, match="connection closed after 1000 of .*; run again"):
        download.backgrounds(*fetch)
    download.backgrounds(*fetch)
    assert Handler.asked == [0, 1000] and len(list((tmp_path / "home" / "background" / "images").iterdir())) == 4


@pytest.mark.parametrize("damage", ["short", "flipped", "photos missing", "absent"])
def test_damaged_background_archive(drawn, tmp_path, address, damage):
    archive = stanford_archive(drawn, tmp_path / "iccv09Data.tar.gz", 3 if damage == "photos missing" else 4)
    content = bytearray(archive.read_bytes())
    if damage == "short":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    archive.write_bytes(content)
    if damage == "absent":
        archive.unlink()
    with pytest.raises(InputError, match="background photos were not downloaded"):
        download.backgrounds(tmp_path / "home", f"{address}/{archive.name}", expected=4)
    assert not (tmp_path / "home" / "background").exists() and not (tmp_path / "home" / "background.part").exists()
