"""From the maps of a network to maps of the photo: aligned upsampling, scales and mirror images, normalisation."""

import torch.nn.functional as F


def normalise(maps, top=None):
    """Divide maps (N, h, w) >= 0 by their own maximum, or by `top` (N, 1, 1); the result is clamped to [0, 1]."""
    top = maximum(maps) if top is None else top
    return (maps / top.clamp_min(1e-5)).clamp(max=1)


def maximum(maps):
    """Maximum of each map: (N, h, w) to (N, 1, 1)."""
    return maps.amax(dim=(1, 2), keepdim=True)


def upsample(maps, side, centre=0.0):
    """Bring maps of a padded, strided network to the photo: (N, h, w) or (N, C, h, w) to `side` pixels a side.

    Each strided layer (3x3, padding 1, stride 2) centres output i on input 2i, so cell i of a map at stride 16 looks
    at pixel 16 i. Plain bilinear upsampling puts it at 16 i + 7.5, which moves every mask down and to the right by
    half a cell.

    Args:
        centre: where in its pixels a cell looks: 0 the first, 0.5 the middle (layers of 2x2 or 4x4 without overlap),
            1 the last (TensorFlow's padding).
    """
    if maps.ndim == 3:
        return upsample(maps[:, None], side, centre)[:, 0]
    if centre == 0.5:
        return F.interpolate(maps, (side, side), mode="bilinear")
    if centre == 1:
        return upsample(maps.flip(-1, -2), side).flip(-1, -2)
    padded = F.pad(maps, (0, 1, 0, 1), mode="replicate")
    return F.interpolate(padded, (side + 1, side + 1), mode="bilinear", align_corners=True)[..., :side, :side]


def scaled_side(side, scale):
    """A scaled side in pixels, rounded to a multiple of 16, the networks' stride."""
    return max(16, round(side * scale / 16) * 16)


def multi_scale(maps_of, images, scales, centre=0.0):
    """Average maps over scaled and flipped copies of the photos, as IRN (Ahn et al., CVPR 2019) and its followers do.

    Args:
        maps_of: function, (N, 3, h, w) normalised photos to (N, h', w') maps before normalisation.
        images: (N, 3, S, S) normalised photos.
        scales: factors of S, of `scaled_side`.
        centre: of `upsample`.

    Returns:
        (N, S, S) float32 maps before normalisation.
    """
    side, total = images.shape[-1], 0
    for scale in scales:
        size = scaled_side(side, scale)
        scaled = images if size == side else F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        total = total + upsample(maps_of(scaled), side, centre)
        # Mirrored back only at the photo's size: a cell's centre is not the middle of its mirror image.
        total = total + upsample(maps_of(scaled.flip(-1)), side, centre).flip(-1)
    return total / (2 * len(scales))
