"""Where and how the arithmetic is done: device, autocast, memory layout, seeds. Scripts do not mention any of it."""

import ctypes
import os
import random
import sys

import numpy as np
import torch

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which every pretrained backbone expects
STD = (0.229, 0.224, 0.225)


def _keep_freed_memory():
    """Tell glibc to keep freed blocks: returning each step's activations to the system costs a third of a CPU step."""
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap, too
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and the heap does not shrink
        except (OSError, AttributeError):  # another C library
            pass


_keep_freed_memory()


def device():
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_everything(seed):
    """Seed Python, numpy and torch and ask for deterministic kernels.

    On a CPU equal seeds give equal bytes. On a GPU the kernels that have no deterministic form (the backward pass of
    bilinear upsampling) only warn, so equal seeds agree up to rounding.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def fast_bf16():
    """Whether bf16 products are faster than fp32: on GPUs since Ampere and CPUs with AMX or AVX512-BF16."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))


def autocast(settings):
    """Context of the forward pass: bf16 where --amp and the hardware allow it, otherwise fp32."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=settings.amp and fast_bf16())


def full_precision():
    """Context that turns autocast off: for sums and cosines that bf16 would round away."""
    return torch.autocast(device().type, enabled=False)


def place(module):
    """Move a module to the device, in channels_last (the layout in which convolutions run fastest on both kinds)."""
    return module.to(device(), memory_format=torch.channels_last)


def normalise(photos):
    """uint8 or float (N, 3, H, W) photos in 0..255 to the normalised float32 tensor, on the device, channels_last."""
    photos = photos.to(device(), non_blocking=True).float()
    mean = torch.tensor(MEAN, device=photos.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=photos.device).view(1, 3, 1, 1) * 255
    return ((photos - mean) / std).contiguous(memory_format=torch.channels_last)
