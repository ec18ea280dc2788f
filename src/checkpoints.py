"""Checkpoints: plain dicts of tensors and constructor arguments, from whoever. Reading one never runs code."""

import hashlib
import io
import zipfile
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import torch

from src import InputError, files, first_line


def write(path, value):
    """torch.save through a temporary file; equal values give equal bytes."""
    content = io.BytesIO()  # torch has errors of its own for a file that cannot be written
    torch.save(value, content)
    with files.writing(path) as file:
        file.write(content.getbuffer())


def read(path):
    """Read what `write` wrote, or a .safetensors file; code in the file is never run.

    Where <path>.sha256 stands beside it, as sha256sum writes it, the file must have that digest.

    Raises:
        InputError: the file is missing, damaged or holds anything but tensors and plain values.
    """
    try:
        files.check_is_file(path)
        beside = Path(f"{path}.sha256")
        if beside.is_file() and hashlib.sha256(Path(path).read_bytes()).hexdigest() not in beside.read_text().lower():
            raise ValueError(f"it does not have the digest of {beside.name}")
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with timm

            return load_file(path)
        if zipfile.is_zipfile(path):  # torch itself does not look at the checksums that it writes
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"the part {damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no such weights file: {path}") from None
    except ImportError:
        raise InputError(f"{path} needs the package safetensors (pip install safetensors)") from None
    except Exception as error:  # torch raises half a dozen types for a file that is not a checkpoint
        text = "not of tensors and plain values" if "weights_only" in str(error) else first_line(error)
        raise InputError(f"{path} is not a readable checkpoint: {text[:160]}") from None


@contextmanager
def downloading(name):
    """Around the making of a network with ImageNet's weights, which PyTorch downloads or has already.

    Raises:
        InputError: they cannot be had, or are damaged.
    """
    try:
        yield
    except (OSError, RuntimeError, EOFError, UnpicklingError, HTTPException) as error:
        text = f"the ImageNet weights of {name} cannot be had ({first_line(error)[:160]}); give --weights FILE"
        raise InputError(f"{text}, or delete a damaged one below {torch.hub.get_dir()}") from None


def read_network(path, network, backbone=None, **kinds):
    """Read a checkpoint of this project.

    Args:
        network: what it must hold: "classifier", "ccam" or "segmenter".
        backbone: on which it must be; None for any.
        kinds: key -> type of its value, or function that says whether it is whole, of what else it must have beside
            backbone and state.

    Raises:
        InputError: errors of `read`; it holds another network, or lacks a key.
    """
    saved = read(path)
    if not isinstance(saved, dict) or "network" not in saved:
        raise InputError(f"{path} is no checkpoint of this project")
    if saved["network"] != network or backbone not in (None, saved.get("backbone")):
        held = f"a {str(saved['network'])[:40]} on {str(saved.get('backbone'))[:60]}"
        raise InputError(f"{path} holds {held}, not a {network}{f' on {backbone}' if backbone else ''}")
    for key, kind in {"backbone": str, "state": dict, **kinds}.items():
        value = saved.get(key)
        if not (isinstance(value, kind) if isinstance(kind, type) else kind(value)):
            raise InputError(f"{path} is no whole checkpoint: its {key} is missing or damaged")
    return saved


def fill(model, state, path, name="this network"):
    """Give a network, called `name` in words, the weights that were read from a path.

    Raises:
        InputError: they are those of another network, or not all are finite real numbers.
    """
    try:
        for key, value in state.items():
            if value.layout != torch.strided or value.is_complex() or not torch.isfinite(value).all():
                raise InputError(f"{path}: {key[:80]} holds what is no finite number")
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError, ValueError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise InputError(f"{path} does not hold weights of {name}: {lines[min(1, len(lines) - 1)][:160]}") from None
