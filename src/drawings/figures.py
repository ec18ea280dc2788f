"""What the drawings show: breeds, and the shapes of pets and things in coordinates where a pet is about 1 high."""

import numpy as np

COLOURS = {
    "cream": (228, 205, 165), "ginger": (205, 125, 60), "grey": (128, 130, 138), "black": (45, 42, 46),
    "white": (238, 235, 228), "brown": (112, 74, 46), "chocolate": (78, 50, 38), "blue": (98, 112, 132),
    "golden": (206, 164, 92), "red": (158, 82, 48), "silver": (182, 184, 188), "fawn": (190, 150, 112),
}  # fmt: skip
PATTERNS = ("solid", "tabby", "spots", "patches", "points", "saddle")
THINGS = ("bird", "fish", "car")
CLUTTER = ("tree", "ball", "flower", "mushroom", "house")


def breed(number):
    """The looks of a breed: the same for every photo of it. Each third is a cat, as in Oxford-IIIT Pet."""
    rng = np.random.default_rng(9000 + number)
    names = list(COLOURS)
    first = names[(number * 5) % len(names)]
    second = names[(number * 7 + 3) % len(names)]
    if first == second:
        second = "white" if first != "white" else "black"
    return {
        "species": "cat" if number % 3 == 0 else "dog",
        "colours": (COLOURS[first], COLOURS[second]),
        "pattern": PATTERNS[number % len(PATTERNS)],
        "ears": ("upright", "large", "folded")[(number // 3) % 3],
        "tail": ("thin", "bushy", "curled")[(number // 2) % 3],
        "stout": rng.uniform(0.85, 1.25),
        "fluffy": rng.uniform(0, 1) ** 2,
    }


def any_coat(rng, species):
    """Looks of no breed in particular."""
    return {**breed(int(rng.integers(100, 10_000))), "species": species}


def ellipse(x, y, rx, ry, angle=0.0):
    """Points (24, 2) of an ellipse; the angle is in radians."""
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1)
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]]) + (x, y)


def limb(start, end, width, taper=0.7):
    """A rounded bar between two points, getting thinner."""
    (x0, y0), (x1, y1) = start, end
    length = max(np.hypot(x1 - x0, y1 - y0), 1e-6)
    nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
    bar = np.array(
        [(x0 + nx, y0 + ny), (x1 + nx * taper, y1 + ny * taper), (x1 - nx * taper, y1 - ny * taper), (x0 - nx, y0 - ny)]
    )
    return [bar, ellipse(x1, y1, width * taper / 2, width * taper / 2), ellipse(x0, y0, width / 2, width / 2)]


def tail(kind, x, y, rng):
    """A tail from its root, as a chain of discs."""
    length, width = {"thin": (0.55, 0.05), "bushy": (0.45, 0.11), "curled": (0.45, 0.07)}[kind]
    turn, angle = {"thin": 1.2, "bushy": 0.8, "curled": 4.5}[kind], rng.uniform(2.5, 4.0)
    discs = []
    for step in np.linspace(0, 1, 14):
        discs.append(ellipse(x, y, width * (1 - 0.4 * step), width * (1 - 0.4 * step)))
        x, y = x + length / 14 * np.cos(angle), y + length / 14 * np.sin(angle)
        angle += turn / 14
    return discs


def head(look, x, y, r, facing):
    """A head: parts and features (dark marks). facing 0 looks at us, 1 to the right."""
    cat = look["species"] == "cat"
    parts, marks = [], []
    ears = []
    for side in (-1, 1):
        ex = x + side * r * 0.62 - facing * 0.25 * r
        if cat:
            height = {"upright": 0.75, "large": 1.05, "folded": 0.35}[look["ears"]] * r
            corners = [
                (ex - 0.38 * r, y - 0.5 * r),
                (ex + side * 0.15 * r, y - 0.75 * r - height),
                (ex + 0.38 * r, y - 0.5 * r),
            ]
            ears.append(np.array(corners))
        elif look["ears"] == "upright":
            ears.append(ellipse(ex + side * 0.1 * r, y - 0.95 * r, 0.25 * r, 0.5 * r, side * 0.3))
        else:
            long = 0.85 if look["ears"] == "large" else 0.55
            ears.append(ellipse(ex + side * 0.35 * r, y + 0.2 * r, 0.28 * r, long * r, -side * 0.25))
    skull = ellipse(x, y, r * (1.05 if cat else 0.9), r * (0.92 if cat else 1.0))
    if cat:
        parts += [("ear", e, 0.9) for e in ears] + [
            ("head", skull, 1.0),
            ("muzzle", ellipse(x + 0.25 * facing * r, y + 0.4 * r, 0.42 * r, 0.3 * r), 1.05),
        ]
        nose = ellipse(x + 0.3 * facing * r, y + 0.25 * r, 0.1 * r, 0.07 * r)
    else:
        snout = ellipse(x + 0.95 * facing * r, y + 0.38 * r, (0.45 + 0.4 * facing) * r, 0.42 * r)
        parts += [("head", skull, 1.0), ("muzzle", snout, 1.06)] + [("ear", e, 0.82) for e in ears]
        nose = ellipse(x + (1.7 * facing) * r, y + 0.25 * r, 0.17 * r, 0.13 * r)
    marks.append((nose, (60, 40, 42)))
    for side in (-1, 1):
        ex = x + side * 0.4 * r + 0.3 * facing * r
        eye = (120, 170, 60) if cat else (70, 45, 30)
        marks += [
            (ellipse(ex, y - 0.1 * r, 0.17 * r, 0.15 * r), eye),
            (ellipse(ex, y - 0.1 * r, (0.06 if cat else 0.1) * r, 0.12 * r), (15, 15, 15)),
        ]
    return parts, marks


def pet(look, rng):
    """A cat or dog in a random pose: parts [(kind, points, shade)] and marks [(points, colour)], about 1 high."""
    cat, stout = look["species"] == "cat", look["stout"]
    pose = rng.choice(["sit", "stand", "lie", "portrait"], p=[0.3, 0.35, 0.2, 0.15])
    parts, r = [], (0.2 if cat else 0.19) * rng.uniform(0.9, 1.15)

    def add(kind, shapes, shade):
        parts.extend((kind, shape, shade) for shape in shapes)

    if pose == "stand":
        leg = (0.34 if cat else 0.46) * rng.uniform(0.85, 1.1)
        add("tail", tail(look["tail"], -0.42, -0.08, rng), 0.9)
        for x, shade in ((-0.36, 0.78), (0.28, 0.78), (-0.27, 0.95), (0.37, 0.95)):
            add("leg", limb((x, 0.05), (x + rng.uniform(-0.07, 0.07), 0.1 + leg), 0.14 * stout), shade)
        add("body", [ellipse(0, 0, 0.48, 0.2 * stout), ellipse(0.25, -0.02, 0.25, 0.22 * stout)], 1.0)
        add("body", limb((0.33, -0.05), (0.52, -0.26), 0.24), 1.0)
        face = head(look, 0.56, -0.34, r, rng.choice([0.4, 0.7, 1.0]))
    elif pose == "sit":
        add("tail", tail(look["tail"], -0.2, 0.42, rng), 0.9)
        add("body", [ellipse(0, 0.22, 0.27 * stout, 0.36), ellipse(0, -0.05, 0.2 * stout, 0.25)], 1.0)
        add("leg", [ellipse(-0.2, 0.48, 0.15, 0.1), ellipse(0.2, 0.48, 0.15, 0.1)], 0.88)
        for x in (-0.09, 0.09):
            add("leg", limb((x, 0.1), (x, 0.53), 0.13), 1.03)
        face = head(look, rng.uniform(-0.05, 0.05), -0.38, r * 1.1, rng.choice([0.0, 0.25, 0.6]))
    elif pose == "lie":
        add("tail", tail(look["tail"], -0.5, 0.12, rng), 0.9)
        add("body", [ellipse(-0.05, 0.08, 0.55, 0.2 * stout), ellipse(-0.3, 0.06, 0.26, 0.22 * stout)], 1.0)
        add("leg", limb((0.25, 0.2), (0.62, 0.25), 0.12) + limb((-0.3, 0.22), (0.0, 0.27), 0.13), 0.92)
        face = head(look, 0.48, -0.12, r * 1.05, rng.choice([0.0, 0.5, 0.9]))
    else:
        add("beyond", [ellipse(0, 0.75, 0.45 * stout, 0.6)], 0.95)  # reaches out of the photo
        add("body", [ellipse(0, 0.3, 0.3, 0.3)], 0.95)
        face = head(look, 0, -0.1, 0.36, rng.choice([0.0, 0.3]))
    return parts + face[0], face[1]


def thing(kind, rng):
    """Something that is no pet, in the form that `pet` returns."""
    parts, marks = [], []
    if kind == "bird":
        parts = [
            ("tail", np.array([(-0.3, 0), (-0.75, -0.12), (-0.7, 0.14)]), 0.85),
            ("body", ellipse(0, 0, 0.36, 0.22, -0.2), 1),
            ("wing", ellipse(-0.08, -0.02, 0.26, 0.12, 0.3), 0.75),
            ("head", ellipse(0.33, -0.22, 0.15, 0.15), 1.05),
        ]
        parts += [("leg", shape, 0.7) for x in (-0.05, 0.08) for shape in limb((x, 0.18), (x, 0.45), 0.04)]
        marks = [
            (np.array([(0.46, -0.27), (0.66, -0.2), (0.46, -0.15)]), (230, 160, 40)),
            (ellipse(0.37, -0.25, 0.03, 0.03), (10, 10, 10)),
        ]
    elif kind == "fish":
        parts = [
            ("tail", np.array([(-0.35, 0), (-0.7, -0.25), (-0.62, 0), (-0.7, 0.25)]), 0.85),
            ("body", ellipse(0, 0, 0.48, 0.24), 1),
            ("fin", np.array([(-0.1, -0.2), (0.05, -0.42), (0.2, -0.18)]), 0.8),
        ]
        marks = [(ellipse(0.3, -0.05, 0.05, 0.05), (245, 245, 245)), (ellipse(0.31, -0.05, 0.025, 0.025), (10, 10, 10))]
    elif kind == "house":
        parts = [
            ("body", np.array([(-0.45, 0.5), (-0.45, -0.1), (0.45, -0.1), (0.45, 0.5)]), 1),
            ("ear", np.array([(-0.55, -0.1), (0, -0.55), (0.55, -0.1)]), 0.6),
        ]
        marks = [
            (np.array([(x, 0.1), (x, 0.3), (x + 0.18, 0.3), (x + 0.18, 0.1)]), (150, 190, 220)) for x in (-0.35, 0.17)
        ]
        marks.append((np.array([(-0.09, 0.5), (-0.09, 0.15), (0.09, 0.15), (0.09, 0.5)]), (90, 60, 40)))
    elif kind == "car":
        outline = [(-0.65, 0.2), (-0.65, -0.05), (-0.4, -0.1), (-0.22, -0.35), (0.25, -0.35), (0.42, -0.08), (0.66, 0)]
        parts = [("body", np.array([*outline, (0.66, 0.2)]), 1)]
        marks = [(np.array([(-0.3, -0.1), (-0.18, -0.28), (0.2, -0.28), (0.32, -0.1)]), (160, 200, 225))]
        marks += [
            (ellipse(x, 0.22, r, r), c)
            for x in (-0.38, 0.38)
            for r, c in ((0.14, (25, 25, 28)), (0.06, (170, 170, 175)))
        ]
    elif kind == "tree":
        parts = [("leg", shape, 0.5) for shape in limb((0, 0.6), (0, 0), 0.16)]
        parts += [
            ("body", ellipse(*rng.uniform(-0.25, 0.25, 2) - (0, 0.2), 0.3, 0.27), rng.uniform(0.8, 1.1))
            for _ in range(6)
        ]
    elif kind == "ball":
        parts = [("body", ellipse(0, 0, 0.42, 0.42), 1)]
    elif kind == "flower":
        parts = [("leg", shape, 0.6) for shape in limb((0, 0), (0.05, 0.6), 0.06)]
        parts += [
            ("body", ellipse(0.25 * np.cos(a), 0.25 * np.sin(a) - 0.15, 0.17, 0.12, a), 1)
            for a in np.arange(0, 6.2, 0.9)
        ]
        marks = [(ellipse(0, -0.15, 0.14, 0.14), (235, 190, 50))]
    else:
        parts = [("leg", shape, 1.1) for shape in limb((0, 0.5), (0, 0), 0.24, 1.0)]
        t = np.linspace(np.pi, 2 * np.pi, 16)
        parts.append(("body", np.stack([0.5 * np.cos(t), 0.42 * np.sin(t) + 0.05], axis=1), 0.95))
    return parts, marks
