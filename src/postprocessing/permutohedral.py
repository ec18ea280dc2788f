"""High-dimensional Gaussian filtering on the permutohedral lattice, as sparse matrices in PyTorch.

Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.
"""

import warnings

import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore", message="Sparse (CSR tensor support is in beta state|invariant checks)")


class Lattice:
    """A Gaussian filter over points, normalised on both sides as in Kraehenbuehl and Koltun's dense CRF.

    Args:
        features: float32 (d, N), the points' coordinates divided by the filter's standard deviations.
        group: int64 (N,), points of different groups do not see each other: several photos are filtered at once.

    Every point lies in a simplex of d + 1 lattice vertices. `splat` (M, N) adds the points' values to the vertices,
    weighted by barycentric coordinates; a small blur runs along each of the d + 1 axes; `slice` (N, M) reads back.
    """

    def __init__(self, features, group):
        d, n = features.shape
        device = features.device
        corner, rank, weight = _simplex(features)
        keys, digits = _vertex_keys(corner, rank, group)
        found, order = keys.flatten().sort()
        vertices, vertex_of, uses = found.unique_consecutive(return_inverse=True, return_counts=True)
        count = len(vertices)
        vertex_of = torch.empty_like(order).scatter_(0, order, vertex_of)
        starts = F.pad(uses.cumsum(0), (1, 0))
        rows = torch.arange(0, n * (d + 1) + 1, d + 1, device=device)
        self.slice = _sparse(rows, vertex_of, weight.flatten(), (n, count))
        self.splat = _sparse(starts, order // (d + 1), weight.flatten()[order], (count, n))
        self.blurs = [_blur(vertices, digits, axis) for axis in range(d + 1)]
        self.gain = 1 / (1 + 2.0**-d)  # of the blur, as in the paper's code
        self.scale = torch.ones(n, device=device)
        self.scale = (self(self.scale) + 1e-20).rsqrt()

    def __call__(self, values):
        """Filter values: float32 (N,) to (N,)."""
        vertices = self.splat @ (values * self.scale)
        for blur in self.blurs:
            vertices = blur @ vertices
        return (self.slice @ vertices) * self.scale * self.gain


def _simplex(features):
    """The simplex around each point.

    Returns:
        corner: int64 (d + 1, N), the simplex's remainder-0 vertex divided by d + 1.
        rank: int64 (d + 1, N), the order of the point's offsets from it, 0 for the greatest.
        weight: float32 (N, d + 1), barycentric coordinates of the vertices with remainder 0 to d.
    """
    d, n = features.shape
    axis = torch.arange(1, d + 1, device=features.device)
    # The standard deviation of the whole splat, blur and slice is 1 with this scale.
    scaled = features * ((2 / 3) ** 0.5 * (d + 1) / torch.sqrt(axis * (axis + 1.0)))[:, None]
    elevated, total = features.new_empty(d + 1, n), torch.zeros_like(scaled[0])
    for j in range(d, 0, -1):  # onto the plane where coordinates sum to 0
        elevated[j] = total - j * scaled[j - 1]
        total = total + scaled[j - 1]
    elevated[0] = total
    nearest = torch.round(elevated / (d + 1))
    offset = elevated - nearest * (d + 1)
    rank = nearest.sum(dim=0).to(torch.int8).repeat(d + 1, 1)  # a sum that is not 0 moves the ranks around
    for a in range(d + 1):
        for b in range(a + 1, d + 1):
            less = offset[a] < offset[b]
            rank[a] += less
            rank[b] += ~less
    wrap = (rank < 0).long() - (rank > d).long()
    rank = rank + (d + 1) * wrap
    offset -= (d + 1) * wrap
    sorted_offset = torch.empty_like(offset).scatter_(0, rank, offset / (d + 1))
    weight = features.new_empty(n, d + 1)
    weight[:, 0] = 1 + sorted_offset[d] - sorted_offset[0]
    weight[:, 1:] = (sorted_offset[:d] - sorted_offset[1:]).flip(0).T
    return nearest.long() + wrap, rank, weight


def _vertex_keys(corner, rank, group):
    """Each vertex's d coordinates (the last follows from them) as the digits of one integer.

    Returns:
        keys: int64 (N, d + 1), of the vertices with remainder 0 to d.
        digits: int64 (d,), the value of a 1 in each coordinate: a step on the lattice is a constant in key.
    """
    d = len(corner) - 1
    coordinates = corner[:d] * (d + 1)
    low = coordinates.amin(dim=1) - 2 * (d + 1)  # room for steps to either side
    span = coordinates.amax(dim=1) + 2 * (d + 1) - low
    digits = torch.cat([span.new_ones(1), span.cumprod(0)])
    digits, whole = digits[:-1], digits[-1]
    key = ((coordinates - low[:, None]) * digits[:, None]).sum(dim=0) + group * whole
    digit_of = torch.cat([digits, digits.new_zeros(1)])[:, None].expand_as(rank)
    digit_by_rank = torch.empty_like(rank).scatter_(0, rank, digit_of)
    keys = [key]
    for remainder in range(1, d + 1):
        key = key + digits.sum() - (d + 1) * digit_by_rank[d + 1 - remainder]
        keys.append(key)
    return torch.stack(keys, dim=1), digits


def _blur(vertices, digits, axis):
    """The blur along one axis, a sparse (M, M): each vertex and half of its two neighbours, where they exist."""
    count, d = len(vertices), len(digits)
    # One step: +1 in all coordinates but -d in the axis's own.
    step = digits.sum() - ((d + 1) * digits[axis] if axis < d else 0)
    own = torch.arange(count, device=vertices.device)
    after = torch.searchsorted(vertices, vertices + step).clamp_max(count - 1)
    there = vertices[after] == vertices + step
    # No place is written twice: CUDA's deterministic scatter takes such places one by one.
    before = torch.full((count,), -1, device=vertices.device).scatter_(0, after[there], own[there])
    columns = torch.stack([own, torch.where(there, after, own), torch.where(before < 0, own, before)], dim=1)
    weights = torch.stack([torch.ones_like(there).float(), 0.5 * there, 0.5 * (before >= 0)], dim=1)
    starts = torch.arange(0, 3 * count + 1, 3, device=vertices.device)
    return _sparse(starts, columns.flatten(), weights.flatten(), (count, count))


def _sparse(starts, columns, values, shape):
    return torch.sparse_csr_tensor(starts.int(), columns.int(), values, shape, check_invariants=False)
