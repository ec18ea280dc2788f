"""Where and how the arithmetic is done: device, precision, memory layout, seeds, threads."""

import ctypes
import functools
import os
import random
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from src import distributed

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
torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32: by default convolutions round to 10 bits, since Ampere


def device():
    """This thread's NVIDIA or AMD GPU (CUDA), Apple's (MPS), or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name():
    """The device in words, for config.json."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    words = f"{cores()} of {os.cpu_count()} CPU cores ({torch.backends.cpu.get_cpu_capability()})"
    return words if device().type == "cpu" else f"{device().type}, {words}"


def peak_memory():
    """Most bytes that this process has held, on the GPU where there is one; None where the system does not say."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource  # of POSIX alone
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def seed_everything(seed):
    """Seed Python, numpy and torch and ask for deterministic kernels.

    On a CPU equal seeds give equal bytes. On a GPU the kernels that have no deterministic form (a segmenter's loss, the
    dense CRF's sparse products) would only warn, so equal seeds agree up to rounding.
    """
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # 5 to 10 % of a CPU step; nothing here reads it
    torch.backends.cudnn.benchmark = False


def fast_bf16():
    """Whether bf16 products are faster than fp32: on GPUs since Ampere and CPUs with AMX or AVX512-BF16."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    known = "_is_amx_tile_supported", "_is_avx512_bf16_supported"
    return any(getattr(torch.cpu, name)() for name in known if hasattr(torch.cpu, name))


def autocast(settings):
    """Context of the forward pass: bf16 where --amp and the hardware allow it, otherwise fp32."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=precision(settings) == "bf16")


def precision(settings):
    """What networks compute in: "bf16" or "fp32"."""
    return "bf16" if settings.amp and fast_bf16() else "fp32"


def is_out_of_memory(error):
    """Whether an exception says that memory was not enough, on a GPU or on the CPU."""
    known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    return known or any(words in str(error) for words in ("can't allocate memory", "out of memory", "enough memory"))


def full_precision():
    """Context that turns autocast off: for sums and cosines that bf16 would round away."""
    return torch.autocast(device().type, enabled=False)


def progress(items=None, title=None, **options):
    """tqdm's bar, on a terminal and from the first process only."""
    return tqdm(items, title, disable=True if distributed.rank() else None, **options)


def cores():
    """How many cores this process may keep busy: torch's number of threads, which OMP_NUM_THREADS sets."""
    return torch.get_num_threads()


@contextmanager
def threads(count=None):
    """A pool with one thread a core for work on single photos, on this thread's GPU; inside, torch starts no others.

    Where its work ends in an error or Ctrl-C, what is not begun is left.
    """
    where = device()

    def start():
        torch.set_num_threads(1)
        if where.type == "cuda":  # CUDA's current device is each thread's own, and the first GPU to begin with
            torch.cuda.set_device(where)

    pool = ThreadPoolExecutor(count or cores(), initializer=start)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def group_size():
    """How many photos to hand to a thread at once: a GPU wants many, a core's cache one."""
    return 8 if torch.cuda.is_available() else 1


def to_device(values):
    """An array, tensor or module on the device.

    Tensors go through pinned memory, so that no earlier work is waited for; modules are laid out in channels_last, in
    which convolutions run fastest, but for networks with depthwise ones on CUDA: for these cuDNN compiles a kernel a
    layer and size of batch, 3 s for MobileNetV2 forward and 10 s to train it on an H200, and 0.4 and 0.8 s without.
    """
    if isinstance(values, nn.Module):
        convolutions = [module for module in values.modules() if isinstance(module, nn.Conv2d)]
        if device().type == "cuda" and any(1 < one.groups == one.in_channels for one in convolutions):
            convolutions[0].register_forward_pre_hook(_contiguous)  # the layers after it keep to its layout
            return values.to(device(), memory_format=torch.contiguous_format)
        return values.to(device(), memory_format=torch.channels_last)
    tensor = torch.as_tensor(values)
    if device().type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device(), non_blocking=True)
    return tensor.to(device())


def _contiguous(_, inputs):
    return tuple(tensor.contiguous() for tensor in inputs)


def to_numpy(tensor):
    """A tensor of the device as an array; waits for the work that makes it."""
    return tensor.cpu().numpy()


def normalise(images):
    """uint8 or float (N, 3, H, W) photos in 0..255 to the normalised float32 tensor, on the device, channels_last."""
    mean, std = _channel_statistics(device())
    return ((to_device(images).float() - mean) / std).contiguous(memory_format=torch.channels_last)


@functools.cache
def _channel_statistics(where):
    return [255 * torch.tensor(values, device=where).view(1, 3, 1, 1) for values in (MEAN, STD)]
