"""The user's own batches: from a file or a loader to calls of forward and labels."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nnlint.errors import CaptureError, UsageError
from nnlint.linter.load import failures
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture.matching import read, samples_of
from nnlint.probe_service.capture.session import Batch
from nnlint.probe_service.options import ProbeOptions

# More of a loader is not taken: it goes over the network.
MOST_BYTES = 256 << 20


def load(spec: str, model: nn.Module, options: ProbeOptions, code: UserCode) -> Batch:
    """Read the user's data.

    Args:
        spec: "file.npz", "file.safetensors" or "module.py:loader".
        model: The model that it is for.
        options: Say how many samples and steps are wanted.
        code: Tells the user's frames.

    Raises:
        UsageError: The file cannot be read, or does not fit the model's forward.
        CaptureError: The loader raises.
    """
    path, separator, name = spec.rpartition(":")
    if separator and path.endswith(".py"):
        return from_loader(_found(path, name, code), model, options, code, what=spec)
    suffix = Path(spec).suffix
    if suffix not in {".npz", ".safetensors"}:
        raise UsageError(
            f"{spec} is neither .npz nor .safetensors, nor module.py:loader",
            hint="Save a batch with numpy.savez, or name a function that yields batches.",
        )
    if not Path(spec).is_file():
        raise UsageError(f"{spec} does not exist")
    arrays = _arrays(spec) if suffix == ".npz" else _tensors(spec)
    if not arrays:
        raise UsageError(f"{spec} holds no arrays")
    return from_arrays(arrays, model, options, what=spec)


def from_arrays(
    arrays: Mapping[str, torch.Tensor], model: nn.Module, options: ProbeOptions, *, what: str
) -> Batch:
    """Match named arrays, whose first dimension counts samples, to forward and the loss.

    Raises:
        UsageError: They do not fit.
    """
    count = samples_of(arrays, model, what)
    size = options.batch_size or count
    if count < size or not count:
        raise UsageError(
            f"{what} holds {count} samples, fewer than a batch of {size}",
            hint=f"Give --batch-size {count}." if count else "",
        )
    batches = min(count // size, _wanted(options, size))

    def cut(tensor: torch.Tensor, index: int) -> torch.Tensor:
        if tensor.dim() and tensor.shape[0] == count:
            return tensor[index * size : (index + 1) * size]
        return tensor

    items = [{name: cut(array, i) for name, array in arrays.items()} for i in range(batches)]
    return read(items, model, size, what)


def from_loader(
    source: Any, model: nn.Module, options: ProbeOptions, code: UserCode, *, what: str
) -> Batch:
    """Take batches from a batch, an iterable of batches, or a function that returns either.

    Raises:
        UsageError: What is yielded are no batches, or they do not fit forward.
        CaptureError: The loader raises.
    """
    try:
        items = list(_items(source, options))
    except UsageError:
        raise
    except Exception as error:
        raise CaptureError(
            f"{what} raises {failures.describe(error)}",
            location=code.raised(error.__traceback__)[0],
        ) from error
    if not items:
        raise UsageError(f"{what} yields no batch")
    size = samples_of(items[0], model, what)
    wanted = options.batch_size or size
    if wanted > size:
        raise UsageError(
            f"{what} yields batches of {size} samples, fewer than {wanted}",
            hint=f"Give --batch-size {size}, or yield larger batches.",
        )
    if wanted < size:
        items = [_first(item, size, wanted) for item in items]
    return read(items, model, wanted, what)


def _wanted(options: ProbeOptions, size: int) -> int:
    """Return how many different batches a probe makes use of."""
    return max(options.steps, math.ceil(options.samples / size), 1)


def _items(source: Any, options: ProbeOptions) -> Iterator[Any]:
    """Yield batches of equal shapes, as many as are wanted and not too large together."""
    if callable(source) and not isinstance(source, (Iterable, nn.Module)):
        source = source()
    if isinstance(source, (torch.Tensor, Mapping)) or _is_batch(source):
        yield source
        return
    if not isinstance(source, Iterable):
        raise UsageError(
            f"a loader yields batches, but this is a {type(source).__name__}",
            hint="Name a function or an iterable that yields (inputs, labels).",
        )
    total = 0
    shapes: Any = None
    for count, item in enumerate(source):
        leaves = [leaf for leaf in pytree.tree_leaves(item) if isinstance(leaf, torch.Tensor)]
        mine = [leaf.shape for leaf in leaves]
        size = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
        if count and (mine != shapes or total + size > MOST_BYTES):
            return
        shapes = mine
        total += size
        yield item
        samples = next((s[0] for s in mine if len(s)), 1)
        if count + 1 >= _wanted(options, max(samples, 1)):
            return


def _is_batch(source: Any) -> bool:
    """Tell a batch, a tuple of tensors, from a list of batches."""
    return isinstance(source, tuple) and any(isinstance(each, torch.Tensor) for each in source)


def _first(value: Any, size: int, wanted: int) -> Any:
    def cut(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor) and leaf.dim() and leaf.shape[0] == size:
            return leaf[:wanted]
        return leaf

    return pytree.tree_map(cut, value)


def _found(path: str, name: str, code: UserCode) -> Any:
    """Import the user's file and return what it calls the loader."""
    if not Path(path).is_file():
        raise UsageError(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(f"_nnlint_data_{Path(path).stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _beside(path):
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise CaptureError(
                f"{path} raises {failures.describe(error)}",
                location=code.raised(error.__traceback__)[0],
            ) from error
    found = getattr(module, name, None)
    if found is None:
        raise UsageError(f"{path} defines no {name}")
    return found


@contextlib.contextmanager
def _beside(path: str) -> Iterator[None]:
    """Let a file import its neighbours."""
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _arrays(path: str) -> dict[str, torch.Tensor]:
    try:
        import numpy as np
    except ImportError:
        raise UsageError(f"{path} needs NumPy", hint="pip install nnlint[data]") from None
    found: dict[str, torch.Tensor] = {}
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                found[name] = torch.from_numpy(archive[name])
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read: {failures.describe(error)}") from None
    return found


def _tensors(path: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise UsageError(f"{path} needs safetensors", hint="pip install nnlint[data]") from None
    try:
        return dict(load_file(path))
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {failures.describe(error)}") from None
