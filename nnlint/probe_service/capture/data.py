"""The user's own batches: from a file or a loader to calls of forward and labels."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nnlint.errors import CaptureError, UsageError
from nnlint.linter.load import failures
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture.feed import Call, make_call
from nnlint.probe_service.capture.feed import given as fed
from nnlint.probe_service.capture.session import Batch
from nnlint.probe_service.encode.scalars import scalar_of
from nnlint.probe_service.options import ProbeOptions

# What labels are called.
TARGETS = ("target", "targets", "label", "labels", "y")
# More of a loader is not taken: it goes over the network.
MOST_BYTES = 256 << 20
_WIDENED = {torch.int8, torch.int16, torch.int32}


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
    inputs, targets = _split(arrays, model, what)
    first = next(iter(inputs.values()), None)
    if first is None or not first.dim():
        raise UsageError(f"{what}: {_first_name(inputs)} has no dimension that counts samples")
    count = first.shape[0]
    size = options.batch_size or count
    if count < size or not count:
        raise UsageError(
            f"{what} holds {count} samples, fewer than a batch of {size}",
            hint=f"Give --batch-size {count}." if count else "",
        )
    batches = min(count // size, _wanted(options, size))

    def cut(tensor: torch.Tensor) -> list[torch.Tensor]:
        if tensor.dim() and tensor.shape[0] == count:
            return [tensor[i * size : (i + 1) * size] for i in range(batches)]
        return [tensor] * batches

    return _batch(
        model,
        [{name: cut(tensor)[i] for name, tensor in inputs.items()} for i in range(batches)],
        [{name: cut(tensor)[i] for name, tensor in targets.items()} for i in range(batches)],
        size,
        what,
    )


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
    pairs = [_pair(item, model, what) for item in items]
    size = _samples(pairs[0][0], what)
    wanted = options.batch_size or size
    if wanted > size:
        raise UsageError(
            f"{what} yields batches of {size} samples, fewer than {wanted}",
            hint=f"Give --batch-size {size}, or yield larger batches.",
        )
    if wanted < size:
        pairs = [(_first(i, size, wanted), _first(t, size, wanted)) for i, t in pairs]
    return _batch(model, [i for i, _ in pairs], [t for _, t in pairs], wanted, what)


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


def _pair(item: Any, model: nn.Module, what: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """Split a batch into what forward takes and the labels by name.

    The inputs are a mapping by parameter name, or a list of positional arguments.
    """
    if isinstance(item, torch.Tensor):
        return [item], {}
    if isinstance(item, Mapping):
        return _split(item, model, what)
    if not isinstance(item, (tuple, list)) or not item:
        raise UsageError(f"{what}: a batch is a tensor, a tuple or a dict, not {item!r:.60}")
    needed = max(len(_positional(model)), 1)
    first, *rest = item
    if isinstance(first, Mapping) and rest:
        inputs, labels = _split(first, model, what)
        return inputs, {**labels, **_named(rest)}
    if isinstance(first, (tuple, list)) and rest:
        return list(first), _named(rest)
    return list(item[:needed]), _named(item[needed:])


def _named(labels: Sequence[Any]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for each in labels:
        values = each.items() if isinstance(each, Mapping) else enumerate(pytree.tree_leaves(each))
        for key, value in values:
            if isinstance(value, torch.Tensor):
                name = key if isinstance(key, str) else "target"
                found[name if name not in found else f"{name}{len(found)}"] = value
    return found


def _split(
    arrays: Mapping[str, Any], model: nn.Module, what: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Match arrays to forward's parameters by name, then by order; the rest are labels."""
    parameters = inspect.signature(model.forward).parameters
    every = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    inputs = {name: value for name, value in arrays.items() if name in parameters}
    rest = {name: value for name, value in arrays.items() if name not in parameters}
    free = [name for name in _positional(model) if name not in inputs]
    labels = {name: rest.pop(name) for name in list(rest) if name.lower() in TARGETS}
    if len(free) == 1 and len(parameters) == 1 and len(rest) > 1 and not inputs:
        # forward takes the batch as it is, a mapping
        return {free[0]: dict(rest)}, labels
    for name in free:
        if not rest:
            break
        key = next(iter(rest))
        inputs[name] = rest.pop(key)
    if every and not labels:
        inputs |= rest
        rest = {}
    missing = [name for name in _positional(model) if name not in inputs]
    if missing:
        raise UsageError(
            f"{what} has nothing for forward's {', '.join(missing)} (it has {', '.join(arrays)})",
            hint=f"Save the input under the name {missing[0]}.",
        )
    if len(rest) > 1 or (rest and labels):
        raise UsageError(
            f"{what}: forward takes no {', '.join(rest)}",
            hint=f"forward takes {', '.join(parameters)}; labels are called {TARGETS[0]}.",
        )
    order = [name for name in parameters if name in inputs]
    order += [name for name in inputs if name not in order]
    return {name: inputs[name] for name in order}, {**labels, **rest}


def _positional(model: nn.Module) -> list[str]:
    """Return the names of forward's parameters that have no default."""
    return [
        name
        for name, p in inspect.signature(model.forward).parameters.items()
        if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
    ]


def _batch(
    model: nn.Module,
    inputs: Sequence[Any],
    targets: Sequence[Mapping[str, Any]],
    size: int,
    what: str,
) -> Batch:
    """Make the calls of batches of equal structure."""
    real = next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)
    first, spec = pytree.tree_flatten(inputs[0])
    columns = [pytree.tree_leaves(each) for each in inputs]
    names = _leaf_names(inputs[0], model)
    leaves: list[Any] = []
    for place, leaf in enumerate(first):
        if isinstance(leaf, torch.Tensor):
            tensors = [_plain(column[place], real, names[place], what) for column in columns]
            leaves.append(fed(names[place], tensors))
        else:
            leaves.append(leaf)
    whole = pytree.tree_unflatten(leaves, spec)
    labels = tuple(
        fed(name, [_plain(each[name], real, name, what, label=True) for each in targets])
        for name in targets[0]
    )
    calls = [_call(model, whole, size)]
    needed = _positional(model)
    if (
        isinstance(whole, Mapping)
        and len(needed) == 1
        and isinstance(whole.get(needed[0]), Mapping)
    ):
        # ... or by keywords that forward's ** takes.
        calls.append(make_call([], dict(whole[needed[0]]), size))
    return Batch(tuple(calls), labels)


def _call(model: nn.Module, inputs: Any, size: int) -> Call:
    if not isinstance(inputs, Mapping):
        return make_call(list(inputs), {}, size)
    args: list[Any] = []
    named = dict(inputs)
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if name not in named or parameter.kind in {
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        }:
            break
        args.append(named.pop(name))
    return make_call(args, named, size)


def _leaf_names(inputs: Any, model: nn.Module) -> list[str]:
    """Return a name for each leaf of the inputs: of the parameter, or of the key within it."""
    if isinstance(inputs, Mapping):
        pairs = list(inputs.items())
    else:
        names = [*inspect.signature(model.forward).parameters]
        names += [f"input{i}" for i in range(len(names), len(inputs))]
        pairs = list(zip(names, inputs, strict=False))
    found: list[str] = []
    for name, value in pairs:
        paths, _ = pytree.tree_flatten_with_path(value)
        found += [name + pytree.keystr(path) for path, _ in paths]
    return found


def _plain(
    given: Any, real: torch.dtype, name: str, what: str, *, label: bool = False
) -> torch.Tensor:
    """Return a tensor of a type that models take: NumPy's float64 and int32 are its own habit."""
    if not isinstance(given, torch.Tensor):
        raise UsageError(f"{what}: {name} is a {type(given).__name__}, not a tensor")
    value: torch.Tensor = given.detach().cpu()
    if value.dtype == torch.float64:
        value = value.to(real)
    elif value.dtype in _WIDENED or (label and value.dtype == torch.uint8):
        value = value.long()
    if value.layout != torch.strided or scalar_of(value.dtype) is None:
        raise UsageError(f"{what}: {name} is of {value.dtype} ({value.layout}), which is not sent")
    return value


def _samples(inputs: Any, what: str) -> int:
    for leaf in pytree.tree_leaves(inputs):
        if isinstance(leaf, torch.Tensor) and leaf.dim():
            return int(leaf.shape[0])
    raise UsageError(f"{what}: no input has a dimension that counts samples")


def _first(value: Any, size: int, wanted: int) -> Any:
    def cut(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor) and leaf.dim() and leaf.shape[0] == size:
            return leaf[:wanted]
        return leaf

    return pytree.tree_map(cut, value)


def _first_name(inputs: Mapping[str, Any]) -> str:
    return next(iter(inputs), "the input")


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
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                found[name] = torch.from_numpy(np.ascontiguousarray(array))
    except (OSError, ValueError, TypeError, EOFError, KeyError) as error:
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
