"""What names and annotations of forward's parameters tell about the values that they take.

Only where a search starts: what the layers say of a value outweighs its name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from nnlint.linter.trace.arguments import Drawn, Fixed, Keyed, Several, Value

# Sizes of a first try. They differ, so that a size in an error message tells which one it is.
LENGTH = 10
FEATURES = 6
IMAGE = 32
# The largest image that is believed to be meant.
LARGEST = 512

# Frames, height and width of videos: those of the Kinetics data set, as models take them.
VIDEOS = ((16, 112, 112), (16, 224, 224))

_CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
_RECURRENT = (torch.nn.RNNBase, torch.nn.RNNCellBase)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model's layers say before it runs.

    Attributes:
        batch: The batch of the tries.
        vocabulary: Entries of its smallest embedding, None without one.
        image: Height and width of the images that it was built for.
        recurrent: Its recurrent layers.
        video: Channels of the videos that its first convolution takes, None for other models.
    """

    batch: int
    vocabulary: int | None = None
    image: tuple[int, int] = (IMAGE, IMAGE)
    recurrent: tuple[torch.nn.Module, ...] = ()
    video: int | None = None

    @classmethod
    def of(cls, model: torch.nn.Module, batch: int) -> Facts:
        """Collect them."""
        sizes = [
            m.num_embeddings
            for m in model.modules()
            if isinstance(m, (torch.nn.Embedding, torch.nn.EmbeddingBag))
        ]
        found = tuple(m for m in model.modules() if isinstance(m, _RECURRENT))
        image = next(filter(None, map(_image_size, model.modules())), (IMAGE, IMAGE))
        return cls(batch, min(sizes, default=None), image, found, _video_channels(model))


def takes_videos(model: torch.nn.Module) -> bool:
    """Tell whether the first convolution of a model is three-dimensional."""
    return _video_channels(model) is not None


def _video_channels(model: torch.nn.Module) -> int | None:
    first = next((m for m in model.modules() if isinstance(m, _CONVOLUTIONS)), None)
    return first.in_channels if isinstance(first, torch.nn.Conv3d) else None


def _image_size(module: torch.nn.Module) -> tuple[int, int] | None:
    """Return the size that an attribute of a module, or of its configuration, tells."""
    for owner in (module, getattr(module, "config", None)):
        for name in ("image_size", "img_size"):
            match getattr(owner, name, None):
                case bool():
                    continue
                case int(size) | [int(size)] if 0 < size <= LARGEST:
                    return size, size
                case [int(height), int(width)] if 0 < min(height, width) <= LARGEST:
                    return height, width
    return None


def alternatives(parameter: inspect.Parameter, facts: Facts) -> list[Value]:
    """Return what a parameter may take, the likeliest first."""
    name = parameter.name.lower()
    found: list[Value] = list(_annotated(parameter.annotation, facts.batch))
    for pattern, values in _NAMES:
        if pattern.search(name):
            found += values(facts)
            break
    found += _anything(facts)
    return list(dict.fromkeys(found))


def videos(facts: Facts) -> list[Value]:
    """Return videos of usual sizes, where the model takes any: large, and so no first try."""
    channels = facts.video
    return [] if channels is None else [Drawn((facts.batch, channels, *s)) for s in VIDEOS]


def _anything(facts: Facts) -> list[Value]:
    return [
        Drawn((facts.batch, FEATURES), guessed=True),
        Drawn((facts.batch, LENGTH, FEATURES), guessed=True),
        Drawn((facts.batch, 3, *facts.image), guessed=True),
        Drawn((facts.batch, LENGTH), "int", facts.vocabulary or 2, guessed=True),
        Drawn((facts.batch,), guessed=True),
    ]


# Lists of tensors, and of what a data set says of each sample.
_SAMPLES = re.compile(r"([Ll]ist|Sequence)\[(torch\.)?Tensor\]")
_RECORDS = re.compile(r"([Ll]ist|Sequence)\[([Dd]ict|Mapping)\[str, (torch\.)?Tensor\]\]")


def _annotated(annotation: Any, batch: int) -> Iterator[Value]:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    match text:
        case "bool":
            yield from (Fixed(False), Fixed(True))  # noqa: FBT003 - the value that is described
        case "int":
            yield from (Fixed(1), Fixed(0), Fixed(LENGTH))
        case "float":
            yield Fixed(0.5)
        case "str":
            yield Fixed("")
    text = str(annotation)
    if _SAMPLES.search(text):
        yield Several("list", (Drawn((3, IMAGE, IMAGE), batch=()),) * batch, samples=True)
    elif _RECORDS.search(text):
        yield Several("list", (Keyed(()),) * batch, samples=True)


def _sequence(facts: Facts) -> list[Value]:
    high = facts.vocabulary or 2
    return [
        Drawn((facts.batch, LENGTH), "int", high),
        Drawn((facts.batch, LENGTH, FEATURES)),
        Drawn((facts.batch,), "int", high),
    ]


def _image(facts: Facts) -> list[Value]:
    return [Drawn((facts.batch, 3, *facts.image))]


def _mask(facts: Facts) -> list[Value]:
    return [
        Fixed(None),
        Drawn((facts.batch, LENGTH), "bool", fill=1),
        Drawn((facts.batch, 1, LENGTH, LENGTH), "bool", fill=1),
        Drawn((LENGTH, LENGTH), "bool", batch=(), fill=0),
        Drawn((facts.batch, LENGTH, LENGTH), "bool", fill=1),
        Drawn((facts.batch, LENGTH), "float", fill=1),
    ]


def _lengths(facts: Facts) -> list[Value]:
    return [
        Drawn((facts.batch,), "int", fill=LENGTH),
        Several("list", (Fixed(LENGTH),) * facts.batch),
        Fixed(LENGTH),
    ]


def states(layer: Any, batch: int) -> Iterator[Value]:
    """Yield the states that a recurrent layer may be given."""
    cell = isinstance(layer, torch.nn.RNNCellBase)
    count = 1 if cell else layer.num_layers * (2 if layer.bidirectional else 1)
    shape = (batch, layer.hidden_size) if cell else (count, batch, layer.hidden_size)
    state = Drawn(shape, batch=(len(shape) - 2,))
    if isinstance(layer, (torch.nn.LSTM, torch.nn.LSTMCell)):
        yield Several("tuple", (state, state))
    yield state


def _hidden(facts: Facts) -> list[Value]:
    found: list[Value] = []
    for layer in facts.recurrent:
        found += states(layer, facts.batch)
    return [*found, Fixed(None), Drawn((facts.batch, LENGTH, FEATURES))]


def _labels(facts: Facts) -> list[Value]:
    high = facts.vocabulary or 2
    return [
        Drawn((facts.batch,), "int"),
        Drawn((facts.batch, LENGTH), "int", high),
        Drawn((facts.batch, 1)),
        Fixed(None),
    ]


def _steps(facts: Facts) -> list[Value]:
    return [Drawn((facts.batch,), "int"), Fixed(1), Drawn((facts.batch, 1)), Fixed(0.5)]


def _counts(_: Facts) -> list[Value]:
    return [Fixed(1), Fixed(0), Fixed(LENGTH)]


def _fractions(_: Facts) -> list[Value]:
    return [Fixed(0.5), Fixed(1)]


def _flags(_: Facts) -> list[Value]:
    return [Fixed(False), Fixed(True)]  # noqa: FBT003 - the values that are described


def _edges(facts: Facts) -> list[Value]:
    return [Drawn((2, 2 * facts.batch), "int", facts.batch, batch=())]


def _adjacency(facts: Facts) -> list[Value]:
    return [
        Drawn((facts.batch, facts.batch), batch=(0, 1)),
        Drawn((facts.batch, LENGTH, LENGTH)),
        *_edges(facts),
    ]


def _boxes(facts: Facts) -> list[Value]:
    return [Drawn((facts.batch, 4), rising=True)]


def _batch(facts: Facts) -> list[Value]:
    return [
        Several("tuple", (Drawn((facts.batch, FEATURES)), Drawn((facts.batch,), "int"))),
        Keyed(()),
        Drawn((facts.batch,), "int", fill=0),
    ]


_NAMES: tuple[tuple[re.Pattern[str], Callable[[Facts], list[Value]]], ...] = tuple(
    (re.compile(pattern), values)
    for pattern, values in (
        (r"len(gth)?s?$|lens?_|_lens?$", _lengths),
        (r"mask", _mask),
        (r"ratio|prob|temperature|alpha|beta|gamma|lam(bda)?$|epsilon|^eps$|momentum", _fractions),
        (r"^(is|use|with|return|train|do|need|output)_|training|^train$|flag|verbose", _flags),
        (r"edge_?(index|idx)", _edges),
        (r"^a(dj|djacency)?$|adj", _adjacency),
        (r"^(num|n|max|max_num|i|idx|index|level|epoch|iter)(_|$)", _counts),
        (r"hidden|^h_?\d?$|^hx$|state$|_state|^states?$|^h_|memory_state|context$|^cell", _hidden),
        (r"^t$|time_?steps?$|^steps?$|sigma|noise_level", _steps),
        (r"^(image|img|images|imgs|rgb|frame|pixel)", _image),
        (
            r"token|_ids?$|^ids?$|sequence|sentence|word|text|^src|^tgt|^trg|^seq|inputs?_seqs?|question|doc",
            _sequence,
        ),
        (r"box", _boxes),
        (r"label|^targets?$|^y$|^gt", _labels),
        (r"^(batch|data|sample|samples|inputs_dict)$", _batch),
    )
)
