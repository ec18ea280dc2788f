"""Where and how the arithmetic is done: device, autocast, layout, seeds, processes. Scripts mention none of it."""

import ctypes
import functools
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tqdm import tqdm

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
    """This process's GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def start():
    """Join the other processes that torchrun started, if it did: one a GPU (NCCL), or several on CPUs (gloo)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def stop():
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def processes():
    """How many processes work together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank():
    """Number of this process, 0 for the one that writes files and logs."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def main_process_first():
    """The other processes enter when the first has left: what it makes, they find. If it fails, they end silently."""
    went_well = [True]
    if rank() > 0:
        dist.broadcast_object_list(went_well, 0)
        if not went_well[0]:
            sys.exit(2)
    try:
        yield
    except BaseException:
        went_well[0] = False
        raise
    finally:
        if rank() == 0 and processes() > 1:
            dist.broadcast_object_list(went_well, 0)


def share(batch):
    """This process's part of a sequence or of a tensor's first dimension: every processes()-th item."""
    return batch[rank() :: processes()]


def on_this_machine():
    """(number of this process, count of processes) among those that share this machine's memory and disk."""
    if processes() == 1:
        return 0, 1
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


def wait():
    """Until every process is here."""
    if processes() > 1:
        dist.barrier()


def gather(values, count=None):
    """The opposite of `share`, with gradient: (n, ...) of each process to (N, ...) of all, in the batch's order.

    A loss of gathered values is the same in every process and equal to that of a single process with the whole batch.

    Args:
        values: this process's.
        count: N; asking the processes for it would make the GPU wait. None: every process has as many.
    """
    if processes() == 1:
        return values
    count = count or len(values) * processes()
    longest = -(-count // processes())
    padded = F.pad(values, (0, 0) * (values.ndim - 1) + (0, longest - len(values)))
    return _Gather.apply(padded).flatten(0, 1)[:count]


class _Gather(torch.autograd.Function):
    """(n, ...) of each process to (n, processes, ...) of all; the gradients of all processes' losses are summed."""

    @staticmethod
    def forward(context, values):
        values = values.contiguous()
        parts = [torch.empty_like(values) for _ in range(processes())]
        dist.all_gather(parts, values)
        return torch.stack(parts, dim=1)

    @staticmethod
    def backward(context, gradient):
        return total(gradient)[:, rank()]


def total(values):
    """Sum of a tensor over the processes, without gradient."""
    if processes() > 1:
        values = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
    return values


def average_gradients(parameters):
    """Mean of the gradients over the processes, in one message."""
    if processes() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = total(torch.cat([g.flatten() for g in gradients])) / processes()
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def share_buffers(module):
    """Give every process the first one's BatchNorm statistics."""
    if processes() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def gather_objects(value):
    """The values of all processes, a list."""
    if processes() == 1:
        return [value]
    found = [None] * processes()
    dist.all_gather_object(found, value)
    return found


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


def progress(items=None, title=None, **options):
    """tqdm's bar, on a terminal and from the first process only."""
    return tqdm(items, title, disable=True if rank() else None, **options)


def threads(count=None):
    """A pool with one thread a core for work on single photos; inside, torch does not start threads of its own."""
    return ThreadPoolExecutor(count or os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,))


def group_size():
    """How many photos to hand to a thread at once: a GPU wants many, a core's cache one."""
    return 8 if torch.cuda.is_available() else 1


def unfinished():
    """How many chunks of masks may be in the threads' hands while the device predicts the next.

    A GPU need not wait for them; on a CPU both would want the same cores.
    """
    return 1 if torch.cuda.is_available() else 0


def upload(values):
    """An array or tensor as a tensor on the device; through pinned memory, so that no earlier work is waited for."""
    tensor = torch.as_tensor(values)
    if torch.cuda.is_available() and not tensor.is_cuda:
        return tensor.pin_memory().to(device(), non_blocking=True)
    return tensor


def place(module):
    """Move a module to the device, in channels_last (the layout in which convolutions run fastest on both kinds)."""
    return module.to(device(), memory_format=torch.channels_last)


def normalise(photos):
    """uint8 or float (N, 3, H, W) photos in 0..255 to the normalised float32 tensor, on the device, channels_last."""
    mean, std = _channel_statistics()
    return ((upload(photos).float() - mean) / std).contiguous(memory_format=torch.channels_last)


@functools.cache
def _channel_statistics():
    return [255 * torch.tensor(values, device=device()).view(1, 3, 1, 1) for values in (MEAN, STD)]
