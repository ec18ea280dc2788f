"""Putting a data root together: the drawn sample, Oxford-IIIT Pet through torchvision, the Stanford backgrounds."""

import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import torchvision
from tqdm import tqdm

from src import InputError

ROOT = Path(__file__).resolve().parents[2]
BACKGROUND_URL = "http://dags.stanford.edu/data/iccv09Data.tar.gz"  # Gould et al., ICCV 2009: 715 outdoor scenes
BACKGROUND_PHOTOS = 715
MOST_BYTES = 10_000_000  # of one of its photos, which have 320 x 240 pixels


def prepare(root, background=False):
    """Make sure that a data root is there, drawing or downloading only into the project's own two places.

    Args:
        root: folder that has, or should get, oxford-iiit-pet/ and background/.
        background: whether the background photos are needed too.

    Returns:
        root.

    Raises:
        InputError: the folder is missing or empty, or a download failed (what is there is kept for the next try).
    """
    if root == ROOT / "data" / "sample":
        if not (root / "oxford-iiit-pet").is_dir():
            from src.drawings import sample  # only here, because everyone else reads photos and draws none

            sample.draw(root)
    elif root == ROOT / "data":
        if not (root / "oxford-iiit-pet").is_dir():
            oxford_pets(root)
        if background and not (root / "background").is_dir():
            backgrounds(root)
    if not root.is_dir():
        raise InputError(f"no data root {root}")
    return root


def oxford_pets(root):
    """Download Oxford-IIIT Pet with torchvision, which checks the archives' MD5, and put it in place in one step.

    The archives hold some photos that no list labels and stray .mat files; both are removed.
    """
    part = root / "oxford-iiit-pet.part"
    print(f"downloading Oxford-IIIT Pet (800 MB) into {root}", flush=True)
    try:
        torchvision.datasets.OxfordIIITPet(part, split="trainval", download=True)
    except (RuntimeError, OSError, EOFError, zlib.error, tarfile.TarError) as error:
        # A half-unpacked folder would pass torchvision's check next time; the archives are verified anew.
        for folder in ("images", "annotations"):
            shutil.rmtree(part / "oxford-iiit-pet" / folder, ignore_errors=True)
        raise InputError(
            f"Oxford-IIIT Pet was not downloaded ({_line(error)}); run again, or unpack images.tar.gz and "
            f"annotations.tar.gz into {root / 'oxford-iiit-pet'}"
        ) from None
    pets = part / "oxford-iiit-pet"
    lists = [(pets / "annotations" / f"{split}.txt").read_text().split("\n") for split in ("trainval", "test")]
    labelled = {line.split()[0] for lines in lists for line in lines if line.strip()}
    for path in (pets / "images").iterdir():
        if path.suffix != ".jpg" or path.stem not in labelled:
            path.unlink()
    os.replace(pets, root / "oxford-iiit-pet")
    shutil.rmtree(part)


def backgrounds(root, url=BACKGROUND_URL, expected=BACKGROUND_PHOTOS):
    """Download the Stanford Background Dataset and keep its photos in <root>/background/images.

    Its authors publish no checksum; gzip's own CRC and the number of photos tell a damaged archive.
    """
    part = root / "background.part"
    archive = part / "iccv09Data.tar.gz"
    part.mkdir(parents=True, exist_ok=True)
    try:
        if not archive.exists():
            _fetch(url, archive)
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if m.isfile() and "/images/" in m.name and m.name.endswith(".jpg")]
            if len({Path(m.name).name for m in members}) != expected:
                raise tarfile.TarError(f"{len(members)} photos instead of {expected}")
            if too_large := [m.name for m in members if m.size > MOST_BYTES]:
                raise tarfile.TarError(f"{too_large[0]} is no photo of that dataset")
            images = part / "background" / "images"
            images.mkdir(parents=True, exist_ok=True)
            for member in tqdm(members, "unpacking", disable=None, unit="photo"):
                (images / Path(member.name).name).write_bytes(tar.extractfile(member).read())
    except (OSError, EOFError, zlib.error, tarfile.TarError, urllib.error.URLError) as error:
        shutil.rmtree(part)
        raise InputError(
            f"the background photos were not downloaded ({_line(error)}); run again, or put any photos without "
            f"cats and dogs into {root / 'background'}"
        ) from None
    os.replace(part / "background", root / "background")
    shutil.rmtree(part)


def _fetch(url, path):
    """Download to a temporary name and rename: a file under its own name is whole."""
    print(f"downloading {url}", flush=True)
    half = path.with_suffix(".half")
    with urllib.request.urlopen(url, timeout=60) as response, half.open("wb") as file:
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, unit="B", unit_scale=True, disable=None) as bar:
            while block := response.read(1 << 20):
                file.write(block)
                bar.update(len(block))
        if size and file.tell() != size:
            raise OSError(f"connection closed after {file.tell()} of {size} bytes")
    os.replace(half, path)


def _line(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
