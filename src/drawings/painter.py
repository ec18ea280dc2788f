"""Drawn photographs: figures with coats, light and shadow in textured scenes. Equal seeds give equal pictures."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.drawings import figures

SCENES = ("lawn", "beach", "room", "wall", "carpet", "foliage")


def noise(rng, height, width, cells):
    """Smooth noise in [0, 1], (height, width): `cells` random values a side, interpolated."""
    small = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def blurred(mask, radius):
    """Bool mask (H, W) with a soft edge, in [0, 1]."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(radius))) / 255


def coat(look, parts_map, kinds, local, rng):
    """Colour (H, W, 3) of a figure: base and second colour by pattern, in the figure's own coordinates."""
    height, width = parts_map.shape
    base, second = (np.array(c, float) for c in look["colours"])
    x, y = local
    waves = noise(rng, height, width, 6)
    is_kind = [np.isin(parts_map, [i + 1 for i, kind in enumerate(kinds) if kind in wanted])
               for wanted in (("ear", "muzzle", "tail", "leg"), ("body", "wing"))]  # fmt: skip
    where = {
        "solid": np.zeros_like(waves, bool),
        "tabby": np.sin(26 * x + 9 * waves + 4 * y) > 0.35,
        "spots": noise(rng, height, width, 22) > 0.62,
        "patches": noise(rng, height, width, 5) > 0.55,
        "points": is_kind[0],
        "saddle": is_kind[1] & (y < 0.06),
    }[look["pattern"]]
    return base + (second - base) * blurred(where, 1.5)[..., None]


def place(canvas, figure, look, centre, scale, rng):
    """Paint a figure onto a float canvas (H, W, 3) with its shadow; returns its bool mask (H, W)."""
    height, width = canvas.shape[:2]
    parts, marks = figure
    angle, flip = rng.normal(0, 0.12), rng.choice([-1, 1])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def to_canvas(points):
        return [tuple(p) for p in (points * (flip, 1)) @ turn * scale + centre]

    index = Image.new("L", (width, height))
    draw = ImageDraw.Draw(index)
    for number, (_, points, _) in enumerate(parts, 1):
        draw.polygon(to_canvas(points), fill=number)
    parts_map = np.asarray(index)
    shades = np.array([1.0] + [shade for _, _, shade in parts])[parts_map]
    yy, xx = np.mgrid[:height, :width]
    local = np.stack([(xx - centre[0]) / scale * flip, (yy - centre[1]) / scale])
    mask = parts_map > 0
    if look["fluffy"] > 0.3:  # long fur frays the outline
        mask = blurred(mask, 0.02 * scale) + 0.5 * look["fluffy"] * (rng.random(mask.shape) - 0.5) > 0.45
    colour = coat(look, parts_map, [kind for kind, _, _ in parts], local, rng)
    light = (
        0.62 + 0.45 * blurred(mask, 0.09 * scale) - 0.16 * np.clip(local[1], -1, 1)
    )  # rounder towards the middle, lit from above
    fur = 1 + 0.14 * (rng.random(mask.shape) - 0.5) + 0.1 * (noise(rng, height, width, 60) - 0.5)
    colour = colour * (shades * light * fur)[..., None]
    image = Image.fromarray(colour.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for points, fill in marks:
        draw.polygon(to_canvas(points), fill=fill)
    foot = yy[mask].max() if mask.any() else centre[1]
    shadow = np.exp(-(((xx - centre[0]) / (0.55 * scale)) ** 2) - ((yy - foot) / (0.09 * scale)) ** 2)
    canvas *= 1 - 0.4 * shadow[..., None]
    alpha = blurred(mask, 0.8)[..., None]
    canvas[:] = canvas * (1 - alpha) + np.asarray(image) * alpha
    return mask


def scene(rng, height, width, kind=None):
    """A textured background with clutter, float (H, W, 3); its kind is one of SCENES, None for any."""
    kind = kind or rng.choice(SCENES)
    yy, xx = np.mgrid[:height, :width] / height
    coarse, middle, fine = (noise(rng, height, width, cells)[..., None] for cells in (5, 24, 110))
    horizon = rng.uniform(0.25, 0.6)

    def colour(low, high):
        return np.array(low) + (np.array(high) - np.array(low)) * rng.random()

    ground = {
        "lawn": colour((70, 110, 45), (120, 160, 70)), "beach": colour((200, 175, 130), (225, 205, 165)),
        "room": colour((125, 85, 50), (190, 150, 105)), "wall": colour((120, 115, 110), (160, 155, 150)),
        "carpet": colour((90, 60, 70), (190, 150, 140)), "foliage": colour((40, 70, 35), (80, 110, 50)),
    }[kind]  # fmt: skip
    far = {
        "lawn": colour((130, 170, 215), (190, 210, 230)), "beach": colour((60, 120, 160), (110, 170, 200)),
        "room": colour((170, 160, 140), (225, 220, 205)), "wall": colour((140, 70, 55), (175, 105, 80)),
        "carpet": colour((110, 125, 150), (200, 190, 170)), "foliage": colour((55, 90, 45), (95, 130, 60)),
    }[kind]  # fmt: skip
    canvas = np.where((yy < horizon)[..., None], far, ground) * (0.75 + 0.25 * coarse + 0.3 * middle - 0.15)
    if kind in ("lawn", "foliage"):
        canvas *= 0.75 + 0.5 * fine
    elif kind == "wall":
        brick = (np.sin(yy * 60) > 0.93) | (np.sin(xx * 36 + np.pi * (np.floor(yy * 60 / (2 * np.pi)) % 2)) > 0.96)
        canvas = np.where((brick & (yy < horizon))[..., None], 195.0, canvas) * (0.88 + 0.24 * fine)
    elif kind == "room":
        canvas *= np.where(((np.sin(xx * 40 + 3 * yy) > 0.97) & (yy > horizon))[..., None], 0.7, 1.0)
    elif kind == "carpet":
        woven = 1 + 0.15 * np.sign(np.sin(xx * rng.uniform(20, 60)) * np.sin(yy * rng.uniform(20, 60)))
        canvas *= np.where((yy > horizon)[..., None], woven[..., None], 1.0) * (0.9 + 0.2 * fine)
    else:
        canvas *= 0.92 + 0.16 * fine
    for _ in range(rng.integers(1, 5)):
        shape = figures.CLUTTER[rng.integers(len(figures.CLUTTER))]
        centre = (rng.uniform(0, width), height * rng.uniform(horizon - 0.05, 1.0))
        place(
            canvas,
            figures.thing(shape, rng),
            {**figures.any_coat(rng, "dog"), "fluffy": 0},
            centre,
            height * rng.uniform(0.1, 0.3),
            rng,
        )
    return canvas


def develop(canvas, rng):
    """Lighting, colour temperature, blur and grain: float canvas to an RGB image."""
    height, width = canvas.shape[:2]
    yy, xx = np.mgrid[:height, :width] / height
    slope = rng.uniform(-0.25, 0.25, 2)
    light = rng.uniform(0.75, 1.15) * (1 + slope[0] * (xx - 0.5) + slope[1] * (yy - 0.5))
    warmth = 1 + rng.uniform(-0.08, 0.08) * np.array([1, 0, -1])
    canvas = canvas * light[..., None] * warmth + rng.normal(0, rng.uniform(2, 6), canvas.shape)
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7)))


def photograph(rng, look=None, kind=None, where=None, sides=(140, 230)):
    """A drawn photo of a pet (look), a thing (kind) or a scene alone; its sides are at random within `sides` pixels.

    `where` is the kind of the scene, None for any.

    Returns:
        (RGB image, bool mask (H, W) of the subject).
    """
    height, width = (int(s) for s in rng.integers(*sides, 2))
    canvas = scene(rng, height, width, where)
    mask = np.zeros((height, width), bool)
    if look or kind:
        figure = figures.pet(look, rng) if look else figures.thing(kind, rng)
        corners = np.concatenate([points for part, points, _ in figure[0] if part != "beyond"])
        low, high = corners.min(axis=0), corners.max(axis=0)
        scale = float((np.array([width, height]) / (high - low)).min() * rng.uniform(0.6, 1.05))
        slack = (np.array([width, height]) - scale * (high - low)).clip(0) / 2
        middle = np.array([width, height]) / 2 + slack * rng.uniform(-0.8, 0.8, 2)
        figure = [
            [(part, points - (low + high) / 2, shade) for part, points, shade in figure[0]],
            [(points - (low + high) / 2, colour) for points, colour in figure[1]],
        ]
        centre = tuple(middle)
        mask = place(canvas, figure, look or figures.any_coat(rng, "dog"), centre, scale, rng)
    return develop(canvas, rng), mask
