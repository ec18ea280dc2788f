"""Several processes under torchrun: who does what, and the collectives. With one process all of it does nothing."""

import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from src import InputError, count_of, few

TORCHRUN = "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"  # in the environment


def start(alone=False):
    """Join the other processes that torchrun started, if it did: one a GPU (NCCL), or several on CPUs (gloo).

    Raises:
        InputError: the environment does not fit, or the script runs alone.
    """
    try:
        count = int(os.environ.get("WORLD_SIZE", "1"))
        place = [int(os.environ.get(name, 0)) for name in TORCHRUN if name != "MASTER_ADDR" and count > 1]
    except ValueError:
        raise InputError("WORLD_SIZE, RANK or the like, which torchrun sets, is no number") from None
    if count > 1 and alone:
        raise InputError("torchrun is for scripts that train or make masks; start this one with python")
    if count > 1 and not 0 <= place[0] < count:
        raise InputError(f"the environment's RANK {place[0]} is not below its WORLD_SIZE {count}")
    if count > 1 and not dist.is_initialized():
        if missing := [name for name in TORCHRUN if name not in os.environ]:
            raise InputError(f"the environment has WORLD_SIZE without {few(missing)}; start with torchrun, or unset it")
        gpu = None
        if torch.cuda.is_available():
            if place[1] >= torch.cuda.device_count():
                raise InputError(f"process {place[1]} of this machine has no GPU of its own; lower --nproc_per_node")
            gpu = torch.device("cuda", place[1])
            torch.cuda.set_device(gpu)
        # the first process may be decoding or downloading all photos while the others wait for it
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(hours=4), device_id=gpu)


def stop():
    """Part from the other processes."""
    if dist.is_initialized():
        dist.barrier()  # in some versions gloo waits for ever for one that has left already
        dist.destroy_process_group()


def is_parted(error):
    """Whether an exception says that another process is gone."""
    signs = ("connection closed", "connection reset", "reset by peer", "broken pipe", "timed out", "aborted", "nccl")
    return dist.is_initialized() and any(sign in str(error).lower() for sign in signs)


def world_size():
    """How many processes work together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank():
    """Number of this process, 0 for the one that writes files and logs."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank():
    """(number of this process, count of processes) among those that share this machine's memory and disk."""
    if world_size() == 1:
        return 0, 1
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


def barrier():
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


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
        if rank() == 0 and world_size() > 1:
            dist.broadcast_object_list(went_well, 0)


def shard(batch):
    """This process's part of a sequence or of a tensor's first dimension: every world_size()-th item."""
    return batch[rank() :: world_size()]


def parallel(model, *, sync_batchnorm=False, find_unused_parameters=False):
    """The model as all processes train it: DistributedDataParallel, which averages gradients while it goes backward.

    Args:
        model: on the device; stays the module to save. It is returned itself where there is one process.
        sync_batchnorm: BatchNorm sees the whole batch (SyncBatchNorm, GPUs only) in place of each process's own part.
        find_unused_parameters: some parameters that ask for gradients have none in some steps.

    Raises:
        InputError: sync_batchnorm without GPUs.
    """
    if world_size() == 1:
        return model
    if sync_batchnorm:
        if not torch.cuda.is_available():
            raise InputError("--sync-batchnorm needs GPUs: PyTorch has no SyncBatchNorm for CPUs")
        model = synchronised(model)
    return nn.parallel.DistributedDataParallel(
        model, broadcast_buffers=False, find_unused_parameters=find_unused_parameters
    )


def synchronised(model):
    """The model with SyncBatchNorm. timm's BatchNorm is the activation, too, which PyTorch's conversion would drop."""
    try:
        from timm import layers  # an optional package; it converts all others as PyTorch does
    except ImportError:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return layers.convert_sync_batchnorm(model)


def broadcast_buffers(module):
    """Give every process the first one's BatchNorm statistics."""
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def all_gather(values, count=None):
    """The opposite of `shard`, with gradient: (n, ...) of each process to (N, ...) of all, in the batch's order.

    A loss of gathered values is the same in every process and equal to that of a single process with the whole batch.
    Only a loss that compares photos with each other needs it.

    Args:
        values: this process's.
        count: N; asking the processes for it would make the GPU wait. None: every process has as many.
    """
    if world_size() == 1:
        return values
    count = count or len(values) * world_size()
    longest = -(-count // world_size())
    padded = F.pad(values, (0, 0) * (values.ndim - 1) + (0, longest - len(values)))
    return _AllGather.apply(padded).flatten(0, 1)[:count]


class _AllGather(torch.autograd.Function):
    """(n, ...) of each process to (n, world size, ...) of all; the gradients of all processes' losses are summed."""

    @staticmethod
    def forward(context, values):
        values = values.contiguous()
        parts = [torch.empty_like(values) for _ in range(world_size())]
        dist.all_gather(parts, values)
        return torch.stack(parts, dim=1)

    @staticmethod
    def backward(context, gradient):
        return all_reduce(gradient)[:, rank()]


def all_reduce(values):
    """Sum of a tensor over the processes, without gradient."""
    if world_size() > 1:
        values = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
    return values


def check_batch(batch):
    """Raise InputError, in every process alike, if there are fewer photos in a batch than processes to share them."""
    if len(batch) < world_size():
        raise InputError(
            f"a batch of {count_of(batch, 'photo')} cannot be shared by {world_size()} processes; start fewer of them"
        )


def batch_mean(mean, own, count):
    """A mean over this process's `own` photos as its part of the mean over all `count` photos of the batch.

    The average over the processes, which DistributedDataParallel takes of the gradients, is then the batch's mean.
    """
    return mean * (own * world_size() / count)


def all_gather_dicts(found):
    """One dict of what each process found about photos of its own."""
    if world_size() == 1:
        return found
    parts = [None] * world_size()
    dist.all_gather_object(parts, found)
    return dict(chain.from_iterable(part.items() for part in parts))
