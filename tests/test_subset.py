"""A list selects photos by name and split, and shrinks them."""

import os

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from src import InputError, data
from src.data import subset


def names(root, split):
    lines = (root / "oxford-iiit-pet" / "annotations" / f"{split}.txt").read_text().splitlines()
    return [line.split()[0] for line in lines]


def test_names_splits_and_sizes(settings, data_root, tmp_path):
    trainval, test = names(data_root, "trainval"), names(data_root, "test")
    chosen = {test[0]: "trainval", trainval[1]: "trainval", trainval[0]: "test"}
    (tmp_path / "list.txt").write_text("\n".join(f"{name} {split}" for name, split in chosen.items()) + "\n\n")
    root = data.select(data_root, tmp_path / "list.txt", 40, tmp_path / "part")
    settings.data_root = root
    photos = data.load(settings, background=True)
    assert [photos.names[i] for i in photos.trainval] == [test[0], trainval[1]]
    assert [photos.names[i] for i in photos.test] == [trainval[0]] and len(photos.background) == 4
    for i in range(3):
        with Image.open(photos.paths[i]) as image, Image.open(photos.truths[i]) as trimap:
            assert max(image.size) == 40 and image.size == trimap.size and image.mode == "RGB"
            assert set(np.unique(trimap)) <= {1, 2, 3}
    assert data.select(data_root, tmp_path / "list.txt", 40, root) == root  # it is there
    (tmp_path / "list.txt").write_text(f"{test[0]} trainval\n")
    with pytest.raises(InputError, match="part was made of another .*list.txt; delete it"):
        data.select(data_root, tmp_path / "list.txt", 40, root)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])  # a trimap's, too
def test_a_changed_photo_is_noticed(data_root, tmp_path, suffix):
    name = sorted((data_root / "oxford-iiit-pet" / "images").iterdir())[0]
    name = name.rename(name.with_suffix(suffix))
    (tmp_path / "list.txt").write_text(f"{name.stem} trainval\n")
    made = subset.select(data_root, tmp_path / "list.txt", 384, tmp_path / "made")
    assert subset.select(data_root, tmp_path / "list.txt", 384, tmp_path / "made") == made
    os.utime(name, (1, 1))  # touched alone
    assert subset.select(data_root, tmp_path / "list.txt", 384, tmp_path / "made") == made
    Image.new("RGB", (50, 60)).save(name)
    with pytest.raises(InputError, match=f"{name.name} of .* changed since .*made was made; delete it"):
        subset.select(data_root, tmp_path / "list.txt", 384, tmp_path / "made")


def test_the_subset_of_the_readme_is_a_list(tmp_path):
    found = subset._read(ROOT / "data" / "pet_subset.txt")
    splits = list(found.values())
    assert (splits.count("trainval"), splits.count("test")) == (469, 128)


@pytest.mark.parametrize(
    "text, line",
    [
        ("nobody_1 test", "lacks 1 photo of .*list.txt: nobody_1"),
        ("cat_breed01_1 train", "list.txt, line 1: expected 'name trainval' or 'name test'"),
        (None, "no list of photos"),
    ],
)
def test_bad_lists(data_root, tmp_path, text, line):
    if text:
        (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=line):
        data.select(data_root, tmp_path / "list.txt", 40, tmp_path / "part")
    assert not (tmp_path / "part").exists()
