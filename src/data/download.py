"""Putting a data root together: the drawn sample, Oxford-IIIT Pet through torchvision, the Stanford backgrounds."""

import http.client
import lzma
import math
import os
import re
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import torchvision
from tqdm import tqdm

from src import InputError, files, first_line, locks
from src.data.oxford_pets import FOLDER

ROOT = Path(__file__).resolve().parents[2]
BACKGROUND_URL = "http://dags.stanford.edu/data/iccv09Data.tar.gz"  # Gould et al., ICCV 2009: 715 outdoor scenes
BACKGROUND_PHOTOS = 715
BROKEN = (OSError, EOFError, ValueError, ArithmeticError, zlib.error, lzma.LZMAError, tarfile.TarError,
          http.client.HTTPException)  # what connections and archives raise  # fmt: skip
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
    ours = files.resolved(ROOT / "data")
    if root == ours / "sample":
        _once(root, FOLDER, _draw)
    elif root == ours:
        _once(root, FOLDER, oxford_pets)
        if background:
            _once(root, "background", backgrounds)
    if not root.is_dir():
        raise InputError(f"no data root {root}" + (": it is no folder" if root.exists() else ""))
    return root


def _once(root, folder, make):
    """Call `make(root)` unless root has the folder; of two processes one makes it and the other waits."""
    if not (root / folder).is_dir():
        lock = locks.Lock(ROOT / "data" / "download.lock", root, patience=math.inf)
        try:
            if not (root / folder).is_dir():
                make(root)
        finally:
            lock.release()


def _draw(root):
    from src.drawings import sample  # only here, because everyone else reads photos and draws none

    if root.is_dir() and any(root.iterdir()):
        raise InputError(f"{root} has no oxford-iiit-pet/, so the sample is to be drawn there; move what it holds away")
    sample.draw(root)


def oxford_pets(root):
    """Download Oxford-IIIT Pet, whose MD5 torchvision knows and checks, and put it in place in one step.

    The archives hold some photos that no list labels and stray .mat files; both are removed.
    """
    part = root / f"{FOLDER}.part"
    print(f"downloading Oxford-IIIT Pet (800 MB) into {root}", flush=True)
    try:
        for url, _ in torchvision.datasets.OxfordIIITPet._RESOURCES:  # torchvision's own download starts from byte 0
            archive = part / FOLDER / url.rsplit("/", 1)[-1]
            if not archive.exists():
                _fetch(url, archive)
        torchvision.datasets.OxfordIIITPet(part, split="trainval", download=True)
    except (RuntimeError, *BROKEN) as error:
        # A half-unpacked folder would pass torchvision's check next time; the archives are verified anew.
        for folder in ("images", "annotations"):
            shutil.rmtree(part / FOLDER / folder, ignore_errors=True)
        raise InputError(
            f"Oxford-IIIT Pet was not downloaded ({first_line(error)}); run again, or unpack images.tar.gz and "
            f"annotations.tar.gz into {root / FOLDER}"
        ) from None
    pets = part / FOLDER
    lists = [(pets / "annotations" / f"{split}.txt").read_text().split("\n") for split in ("trainval", "test")]
    labelled = {line.split()[0] for lines in lists for line in lines if line.strip()}
    for path in (pets / "images").iterdir():
        if path.suffix != ".jpg" or path.stem not in labelled:
            path.unlink()
    os.replace(pets, root / FOLDER)
    shutil.rmtree(part)


def backgrounds(root, url=BACKGROUND_URL, expected=BACKGROUND_PHOTOS):
    """Download the Stanford Background Dataset and keep its photos in <root>/background/images.

    Its authors publish no checksum; gzip's own CRC and the number of photos tell a damaged archive.
    """
    part = root / "background.part"
    archive = part / "iccv09Data.tar.gz"
    try:
        if not archive.exists():
            _fetch(url, archive)
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if m.isfile() and re.search(r"/images/\w+\.jpg\Z", m.name)]
            if len({Path(m.name).name for m in members}) != expected:
                raise tarfile.TarError(f"{len(members)} photos instead of {expected}")
            if too_large := [m.name for m in members if m.size > MOST_BYTES]:
                raise tarfile.TarError(f"{too_large[0]} is no photo of that dataset")
            images = part / "background" / "images"
            images.mkdir(parents=True, exist_ok=True)
            for member in tqdm(members, "unpacking", disable=None, unit="photo"):
                (images / Path(member.name).name).write_bytes(tar.extractfile(member).read())
    except BROKEN as error:
        if not archive.with_suffix(".half").exists():  # it is whole, and damaged
            shutil.rmtree(part, ignore_errors=True)
        raise InputError(
            f"the background photos were not downloaded ({first_line(error)}); run again, or put any photos without "
            f"cats and dogs into {root / 'background'}"
        ) from None
    os.replace(part / "background", root / "background")
    shutil.rmtree(part)


def _fetch(url, path):
    """Download to a temporary name and rename: a file under its own name is whole. An interrupted one goes on."""
    half = path.with_suffix(".half")
    path.parent.mkdir(parents=True, exist_ok=True)
    before = half.stat().st_size if half.exists() else 0
    print(f"downloading {url}" + (f" from byte {before} on" if before else ""), flush=True)
    request = urllib.request.Request(url, headers={"Range": f"bytes={before}-"} if before else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError:
        half.unlink(missing_ok=True)  # it may be longer than what the server has now
        raise
    with response:
        goes_on = response.status == 206  # else the server sends all of it again
        size = int(response.headers.get("Content-Length") or 0) + before * goes_on
        with half.open("ab" if goes_on else "wb") as file:
            with tqdm(total=size or None, initial=file.tell(), unit="B", unit_scale=True, disable=None) as bar:
                while block := response.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
            if size and file.tell() != size:
                raise OSError(f"connection closed after {file.tell()} of {size} bytes")
    os.replace(half, path)
