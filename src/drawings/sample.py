"""The built-in sample, a small data root of drawn photographs, and the drawings to pretrain on."""

import os
import shutil

import numpy as np
from loky import ProcessPoolExecutor
from PIL import Image, ImageFilter
from tqdm import tqdm

from src.drawings import figures, painter

BREEDS, TRAINVAL, TEST, BACKGROUND = 37, 4, 2, 30  # photos of a breed in each split; pet-free photos
# Coat patterns are classes, because a network that must tell them apart looks at the whole pet.
PETS = tuple(f"{pattern} {species}" for species in ("cat", "dog") for pattern in figures.PATTERNS)
PRETEXT_KINDS = (*PETS, *figures.THINGS, "nothing")


def draw(root, breeds=BREEDS, trainval=TRAINVAL, test=TEST, background=BACKGROUND):
    """Draw the sample into `root`, missing or empty; it appears when it is whole. Equal calls give equal bytes."""
    part = root.with_name(root.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pets, scenes = part / "oxford-iiit-pet", part / "background" / "images"
    for folder in (pets / "images", pets / "annotations" / "trimaps", scenes):
        folder.mkdir(parents=True)
    jobs = [(_draw_pet, pets, number, k) for number in range(breeds) for k in range(trainval + test)]
    jobs += [(_draw_scene, scenes, k) for k in range(background)]
    lines = _in_parallel(jobs, "drawing the sample")[: breeds * (trainval + test)]
    in_trainval = [i % (trainval + test) < trainval for i in range(len(lines))]
    for name, wanted in (("trainval", (True,)), ("test", (False,)), ("list", (True, False))):
        text = "".join(line for line, flag in zip(lines, in_trainval, strict=True) if flag in wanted)
        (pets / "annotations" / f"{name}.txt").write_text(text)
    if root.is_dir():
        root.rmdir()  # fails if it holds anything
    os.replace(part, root)


def _draw_pet(pets, number, k):
    """Photo and trimap number k of a breed; returns its line for the lists."""
    look = figures.breed(number)
    name = f"{look['species']}_breed{number + 1:02d}_{k + 1}"
    image, mask = painter.photograph(np.random.default_rng((1, number, k)), look)
    image.save(pets / "images" / f"{name}.jpg", quality=90)
    Image.fromarray(trimap(mask)).save(pets / "annotations" / "trimaps" / f"{name}.png")
    return f"{name} {number + 1} {1 if look['species'] == 'cat' else 2} 1\n"


def _draw_scene(folder, k):
    image, _ = painter.photograph(np.random.default_rng((2, k)))
    image.save(folder / f"scene_{k + 1}.jpg", quality=90)


def _in_parallel(jobs, title):
    """Results of (function, arguments...) in order, computed on all cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        done = [pool.submit(*job) for job in jobs]
        return [job.result() for job in tqdm(done, title, disable=None)]


def trimap(mask, border=3):
    """Bool mask (H, W) to 1 pet, 2 background, 3 border: a band of `border` pixels on both sides of the outline."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    size = 2 * border + 1
    grown = np.asarray(image.filter(ImageFilter.MaxFilter(size))) > 0
    shrunk = np.asarray(image.filter(ImageFilter.MinFilter(size))) > 0
    return np.where(shrunk, 1, np.where(grown, 3, 2)).astype(np.uint8)


def pretext(count, size, seed):
    """Labelled drawings to pretrain on: cats and dogs of no breed by coat pattern, three things, and scenes alone.

    Returns:
        (uint8 (count, 3, size, size), int64 (count, 3) labels: classes of PRETEXT_KINDS, of painter.SCENES and of the
        coat's colour, of figures.COLOURS or the one after the last where there is no pet).
    """
    jobs = [(_drawing, PRETEXT_KINDS[i % len(PRETEXT_KINDS)], size, (3, seed, i)) for i in range(count)]
    drawings, scenes, colours = zip(*_in_parallel(jobs, "drawing the pretext"), strict=True)
    kinds = np.arange(count) % len(PRETEXT_KINDS)
    return np.stack(drawings), np.stack([kinds, scenes, colours], axis=1)


def _drawing(kind, size, seed):
    """A drawing (3, size, size), the number of its scene, and that of its coat's colour."""
    rng = np.random.default_rng(seed)
    pattern, _, species = kind.partition(" ")
    look = {**figures.any_coat(rng, species), "pattern": pattern} if species else None
    thing = kind if kind in figures.THINGS else None
    scene = int(rng.integers(len(painter.SCENES)))
    image, _ = painter.photograph(rng, look, thing, painter.SCENES[scene], sides=(size, 3 * size // 2))
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    colours = list(figures.COLOURS.values())
    return pixels, scene, colours.index(look["colours"][0]) if look else len(colours)
