"""Find input shapes that a traced model accepts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnlint.linter.graph import Node, ShapeFailure, data_inputs
from nnlint.linter.operators import linear as lin
from nnlint.linter.operators import normalisation as norm
from nnlint.linter.operators.base import Family, table
from nnlint.linter.operators.shapes import Tensor
from nnlint.linter.settings import InputSpec
from nnlint.linter.trace import propagate

if TYPE_CHECKING:
    import torch

BATCH = 4
# Image sizes in the order of how often models are written for them; the last ones are fallbacks.
SPATIAL = (32, 224, 28, 64, 256, 128, 96, 299, 84, 227, 105, 160, 112, 48, 40, 36, 24, 16, 512, 8)
LENGTHS = (16, 64, 128, 32, 10, 100, 256, 512, 1024, 8, 5)
VIDEO = ((8, 16), (16, 32), (16, 64), (16, 112), (16, 224))
MAX_TRIES = 200
# Sizes that fail at the same call for the same reason, after which no other is tried.
ALIKE = 6


def candidates(node: Node) -> Iterator[Tensor]:
    """Yield plausible shapes of an input of a traced graph."""
    consumer, direct = _first_layer(node)
    if consumer is not None:
        yield from accepted_by(consumer, direct=direct)


def accepted_by(consumer: Node, *, direct: bool) -> Iterator[Tensor]:
    """Yield shapes that a layer takes, the likeliest first.

    The batch is `BATCH` and stands in front, except for recurrent and attention layers that want
    the sequence first.

    Args:
        consumer: The layer.
        direct: Whether it takes the model's input as it is; otherwise reshaped forms are tried.
    """
    weight = consumer.parameter("weight")
    if consumer.op in _CONVOLUTIONS and weight is not None:
        yield from _for_convolution(consumer, weight, direct=direct)
    elif consumer.op is lin.LINEAR and weight is not None:
        yield from _for_linear(int(weight.shape[1]), direct=direct)
    elif consumer.op is lin.EMBEDDING or consumer.op is lin.EMBEDDING_BAG:
        yield from (Tensor((BATCH, length), "int") for length in LENGTHS)
        yield Tensor((BATCH,), "int")
    elif consumer.module is not None:
        yield from _for_module(consumer, consumer.module, direct=direct)


_CONVOLUTIONS = lin.CONVOLUTIONS | lin.TRANSPOSED_CONVOLUTIONS


def _for_convolution(consumer: Node, weight: torch.Tensor, *, direct: bool) -> Iterator[Tensor]:
    rank = weight.dim() - 2
    transposed = consumer.op in lin.TRANSPOSED_CONVOLUTIONS
    channels = int(weight.shape[0] if transposed else weight.shape[1] * _groups(consumer))
    for space in _spaces(rank):
        yield Tensor((BATCH, channels, *space), "float")
        if not direct:
            yield Tensor((BATCH, *space), "float")
            yield Tensor((BATCH, *space, channels), "float")
    if not direct and rank == 2:
        for size in (28, 32, 64, 8, 4, 16):
            yield Tensor((BATCH, channels * size * size), "float")


def _for_linear(features: int, *, direct: bool) -> Iterator[Tensor]:
    yield Tensor((BATCH, features), "float")
    for length in LENGTHS:
        yield Tensor((BATCH, length, features), "float")
    if not direct:
        yield from _images_with(features)
    yield Tensor((BATCH, 8, 8, features), "float")


def _for_module(consumer: Node, module: Any, *, direct: bool) -> Iterator[Tensor]:
    if consumer.family(Family.RECURRENT) and hasattr(module, "input_size"):
        features = module.input_size
        for length in LENGTHS:
            batch_first = getattr(module, "batch_first", True)
            lead = (BATCH, length) if batch_first else (length, BATCH)
            yield Tensor((*lead, features), "float")
        yield Tensor((BATCH, features), "float")
        if not direct:
            # The rows of a square image are read as a sequence.
            yield Tensor((BATCH, 1, features, features), "float")
    elif consumer.family(Family.ATTENTION):
        found = _attention(module)
        if found is not None:
            yield Tensor((BATCH, 16, found[0]) if found[1] else (16, BATCH, found[0]), "float")
            yield Tensor((16, BATCH, found[0]) if found[1] else (BATCH, 16, found[0]), "float")
    elif consumer.op is norm.BATCH_NORM:
        rank = {"BatchNorm1d": 0, "BatchNorm3d": 3}.get(type(module).__name__, 2)
        yield Tensor((BATCH, module.num_features, *(32,) * rank), "float")
        yield Tensor((BATCH, module.num_features, 16), "float")
    elif consumer.op is norm.LAYER_NORM:
        sizes = tuple(module.normalized_shape)
        yield Tensor((BATCH, 16, *sizes), "float")
        yield Tensor((BATCH, *sizes), "float")
    elif consumer.family(Family.NORM):
        channels = getattr(module, "num_channels", getattr(module, "num_features", None))
        if isinstance(channels, int):
            yield Tensor((BATCH, channels, 32, 32), "float")


def _spaces(rank: int) -> Iterator[tuple[int, ...]]:
    if rank == 1:
        yield from ((length,) for length in LENGTHS)
    elif rank == 2:
        yield from ((size, size) for size in SPATIAL)
    else:
        yield from ((frames, size, size) for frames, size in VIDEO)


def by_registration(model: torch.nn.Module, count: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield inputs for an untraced model, judged by its first layers in order of registration.

    Args:
        model: The module.
        count: How many inputs forward needs.
    """
    layers = [
        Node(i, "op", op=op, module=layer)
        for i, layer in enumerate(model.modules())
        if (op := table().module(type(layer))) is not None and op.learned
    ]
    for layer in layers[:2]:
        for option in accepted_by(layer, direct=False):
            yield (option,) * count
    if count > 1:
        options = [list(accepted_by(layer, direct=True)) for layer in layers[:count]]
        if len(options) == count and all(options):
            yield from itertools.islice(_combinations(options), 40)


def _images_with(features: int) -> Iterator[Tensor]:
    for channels in (1, 3):
        side = round((features / channels) ** 0.5)
        if side * side * channels == features:
            yield Tensor((BATCH, channels, side, side), "float")


def _groups(node: Node) -> int:
    groups = node.arg("groups", 1)
    return groups if isinstance(groups, int) else 1


def _attention(module: torch.nn.Module) -> tuple[int, bool] | None:
    """Return the width of an attention layer and whether the batch comes first."""
    for layer in (module, *module.modules()):
        if isinstance(size := getattr(layer, "embed_dim", None), int):
            return size, bool(getattr(layer, "batch_first", False))
    return None


def _first_layer(node: Node) -> tuple[Node | None, bool]:
    """Return the first layer behind an input, and whether it takes the input as it is."""
    queue, seen = [(node, True)], {node}
    while queue:
        current, direct = queue.pop(0)
        for user in current.users:
            if user in seen or user.kind == "output":
                continue
            seen.add(user)
            if user.parameter("weight") is not None or (user.op is not None and user.op.learned):
                if current in data_inputs(user):
                    return user, direct
                continue
            if user.value is None and not user.family(Family.PYTHON, Family.LOSS):
                queue.append((user, direct and not user.family(Family.SHAPE)))
    return None, False


def given(nodes: Sequence[Node], specs: Sequence[InputSpec]) -> dict[str, Tensor]:
    """Match the user's input shapes to the graph's inputs, by name or in order."""
    names = [n.name for n in nodes if n.kind == "input"]
    named = {s.name: s for s in specs if s.name}
    free = [name for name in names if name not in named]
    chosen = dict(zip(free, (s for s in specs if not s.name), strict=False)) | named
    return {name: Tensor(tuple(s.shape), kind_of(s.dtype)) for name, s in chosen.items()}


def kind_of(dtype: str) -> Any:
    """Return the element kind of a dtype name."""
    if dtype == "bool":
        return "bool"
    return "float" if "float" in dtype else "int"


def search(nodes: Sequence[Node]) -> tuple[dict[str, Tensor] | None, ShapeFailure | None]:
    """Try plausible inputs until one goes through.

    Returns:
        The inputs that fit; None where none was found. And the failure that all tries agree on:
        the same call fails for the same reason whatever the image size or length.
    """
    inputs = [n for n in nodes if n.kind == "input" and n.users]
    options = [list(candidates(n)) for n in inputs]
    if not inputs or not options[0]:
        return None, None
    for n, found in zip(inputs[1:], options[1:], strict=True):
        if not found:
            found.append(_label_like(n))
    failures: list[ShapeFailure] = []
    for choice in itertools.islice(_combinations(options), MAX_TRIES):
        chosen = {n.name: t for n, t in zip(inputs, choice, strict=True)}
        _, failure = propagate.run(nodes, chosen)
        if failure is None:
            return chosen, None
        failures.append(failure)
        if len(inputs) == 1 and _agreed(failures) and len({f.got for f in failures}) >= ALIKE:
            break
    _, direct = _first_layer(inputs[0])
    distinct = {f.got for f in failures}
    if (
        direct
        and len(inputs) == 1
        and _agreed(failures)
        and (len(distinct) > 1 or len(failures) == 1 or _fixed(failures))
    ):
        return None, failures[0]
    return None, None


def _agreed(failures: Sequence[ShapeFailure]) -> bool:
    """Tell whether the same call fails for the same reason."""
    return len({(f.node, f.message) for f in failures}) == 1


def _fixed(failures: Sequence[ShapeFailure]) -> bool:
    """Tell whether what does not fit has no size left that an input could change."""
    return all(f.got is not None and len(f.got) == 2 for f in failures)


def _label_like(node: Node) -> Tensor:
    """Guess an input that no layer takes: integer labels of a loss, else a per-sample number."""
    to_loss = any(
        u.family(Family.LOSS) or any(v.family(Family.LOSS) for v in u.users) for u in node.users
    )
    return Tensor((BATCH,) if to_loss else None, "int" if to_loss else None)


def _combinations(options: Sequence[Sequence[Tensor]]) -> Iterator[tuple[Tensor, ...]]:
    """Yield choices, the same rank in the lists first (both images 32, then both 224)."""
    longest = max(map(len, options))
    for i in range(longest):
        yield tuple(o[min(i, len(o) - 1)] for o in options)
    if len(options) > 1:
        yield from itertools.product(*options)


def with_batch(inputs: Mapping[str, Tensor], factor: int) -> dict[str, Tensor]:
    """Return the inputs with the batch, `BATCH` or the first size of all, multiplied."""
    batch = batch_of(inputs)
    return {
        name: Tensor(
            None
            if t.shape is None
            else tuple(
                s * factor if _is_batch(i, s, t.shape, batch) else s for i, s in enumerate(t.shape)
            ),
            t.kind,
        )
        for name, t in inputs.items()
    }


def _is_batch(place: int, size: int, shape: Sequence[int], batch: int) -> bool:
    return size == batch and batch not in shape[:place]


def batch_of(inputs: Mapping[str, Tensor]) -> int:
    """Return the batch of a set of inputs: the first dimension of the first one."""
    for tensor in inputs.values():
        if tensor.shape:
            return (
                tensor.shape[1]
                if BATCH in tensor.shape[1:2] and tensor.shape[0] != BATCH
                else tensor.shape[0]
            )
    return BATCH
