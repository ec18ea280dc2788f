"""Batches of photo indices, and random crops, flips and brightness on the device."""

import numpy as np
import torch
import torch.nn.functional as F

from src import compute, distributed


def chunks(index, size):
    """Split indices into nearly equal parts, none above `size`: a lone index only where size is 1 or 2, or of one."""
    return np.array_split(index, -(-len(index) // size)) if len(index) else []


def batches(index, size, generator):
    """Shuffle indices and split them into the batches of an epoch."""
    return chunks(np.asarray(index)[torch.randperm(len(index), generator=generator).numpy()], size)


def randomness(index, generator):
    """Random numbers of this process's part of a batch for `augment`, (n, 5) in [0, 1).

    They are drawn for the whole batch on the CPU, so they do not depend on the device or on the number of processes.
    """
    return distributed.shard(torch.rand(5, len(index), generator=generator).T)


def augment(images, random, labels=None, *, smallest=0.6, brightness=0.2):
    """Random crop (resized back), horizontal flip and brightness, the same crop and flip for photo and mask.

    Args:
        images: uint8 or float (N, 3, H, W), 0..255.
        random: float (N, 5) in [0, 1), of `randomness`.
        labels: optional uint8 (N, K, H, W), K masks of each photo, resampled to the nearest pixel.
        smallest: smallest side of the crop as a fraction of the photo's; 1 only flips.
        brightness: photos are multiplied by 1 +- this.

    Returns:
        float (N, 3, H, W) photos; with labels, (photos, int64 labels).
    """
    count, where = len(images), images.device
    random = compute.to_device(random).T
    scale = smallest + (1 - smallest) * random[0]
    flip = torch.where(random[1] < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=where)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = ((1 - scale) * (2 * random[2:4] - 1)).T
    light = 1 + brightness * (2 * random[4] - 1)
    with compute.full_precision():  # autocast would round the grid to bf16: half a pixel of 224, two of 1024
        grid = F.affine_grid(theta, images.shape, align_corners=False)
        images = F.grid_sample(images.float(), grid, align_corners=False, padding_mode="reflection")
        images = (images * light.view(-1, 1, 1, 1)).clamp(0, 255)
        if labels is None:
            return images
        labels = F.grid_sample(labels.float(), grid, "nearest", "reflection", align_corners=False)
    return images, labels.long()


def training_images(photos, index, generator):
    """This process's part of a batch of photo indices as augmented, normalised images (n, 3, S, S) on the device."""
    images = compute.to_device(photos.batch(distributed.shard(index)))
    return compute.normalise(augment(images, randomness(index, generator)))
