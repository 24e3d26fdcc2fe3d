"""The user's own batches: files and loaders, matched to forward and to the loss."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nnlint.errors import CaptureError, UsageError
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture.data import from_loader, load
from nnlint.probe_service.capture.feed import Call, Feed
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2

Reading = tuple[Call, tuple[Feed, ...]]
OPTIONS = ProbeOptions()


class One(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images)


class Two(One):
    def forward(self, images: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.linear(images) * scale


class Optional(One):
    def forward(
        self, images: torch.Tensor, scale: torch.Tensor | None = None, *, labels: Any = None
    ) -> torch.Tensor:
        del labels
        return self.linear(images if scale is None else images * scale)


class Whole(One):
    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.linear(batch["images"] + batch["more"])


def code() -> UserCode:
    return UserCode(__file__, Path(__file__).read_text(encoding="utf-8"), "")


def read(path: Path | str, model: nn.Module, options: ProbeOptions = OPTIONS) -> Reading:
    return load(str(path), model, options, code()).readings[0]


def names(reading: Reading) -> tuple[list[str], list[str]]:
    call, labels = reading
    return [feed.name for feed in call.feeds], [feed.name for feed in labels]


def images(count: int = 8) -> Any:
    return np.arange(count * 3, dtype=np.float64).reshape(count, 3)


@pytest.mark.parametrize(
    ("model", "arrays", "inputs", "labels"),
    [
        (One, ["images", "target"], ["images"], ["target"]),
        (One, ["x", "y"], ["images"], ["y"]),
        (One, ["data", "classes"], ["images"], ["classes"]),
        (One, ["label", "data"], ["images"], ["label"]),
        (One, ["images"], ["images"], []),
        (Two, ["scale", "images", "labels"], ["images", "scale"], ["labels"]),
        (Two, ["a", "b", "y"], ["images", "scale"], ["y"]),
        (Optional, ["images", "scale", "y"], ["images", "scale"], ["y"]),
        (Optional, ["images", "labels"], ["images", "labels"], []),
    ],
)
def test_arrays_are_matched_by_name_then_by_order_and_the_rest_are_labels(
    tmp_path: Path, model: type[nn.Module], arrays: list[str], inputs: list[str], labels: list[str]
) -> None:
    path = tmp_path / "batch.npz"
    np.savez(path, **{name: images() for name in arrays})
    assert names(read(path, model())) == (inputs, labels)


def test_numbers_of_numpy_become_those_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "batch.npz"
    np.savez(path, images=images(), y=np.arange(8, dtype=np.int32))
    call, (labels,) = read(path, One())
    assert call.feeds[0].dtype == torch.float32
    assert labels.dtype == torch.int64


def test_a_file_is_cut_into_as_many_whole_batches_as_fit_and_are_of_use(tmp_path: Path) -> None:
    path = tmp_path / "batch.npz"
    np.savez(path, images=images(11), y=np.arange(11))
    call, (labels,) = read(path, One(), ProbeOptions(batch_size=3))
    assert call.batch_size == 3
    assert [batch.tolist() for batch in labels.batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    call, (labels,) = read(path, One(), ProbeOptions(batch_size=3, steps=2, samples=0))
    assert len(labels.batches) == 2
    call, _ = read(path, One())
    assert (call.batch_size, len(call.feeds[0].batches)) == (11, 1)


def test_the_batches_of_a_file_follow_one_another_in_the_blob() -> None:
    model = One()
    captured = capture_live(
        model,
        [(torch.full((2, 3), float(i)), torch.tensor([i, i])) for i in range(2)],
        "cross_entropy",
        ProbeOptions(),
    )
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert graph.tensors[0].batches == 2
    target = captured.blobs[graph.tensors[1].digest.sha256]
    assert bytes(target) == struct.pack("<4q", 0, 0, 1, 1)
    assert captured.data == "user"


def test_a_safetensors_file_is_read_like_a_npz_file(tmp_path: Path) -> None:
    path = tmp_path / "batch.safetensors"
    save_file({"images": torch.ones(4, 3, dtype=torch.bfloat16), "y": torch.arange(4)}, path)
    call, (labels,) = read(path, One().bfloat16())
    assert call.feeds[0].dtype == torch.bfloat16
    assert labels.shape == (4,)


LOADERS = """
import torch

def pairs():
    for i in range(5):
        yield torch.full((4, 3), float(i)), torch.tensor([i] * 4)

def ragged():
    yield torch.zeros(4, 3), torch.zeros(4)
    yield torch.zeros(2, 3), torch.zeros(2)

def mapping():
    return {"images": torch.zeros(4, 3), "labels": torch.zeros(4)}

BATCH = (torch.zeros(4, 3), torch.zeros(4))
LISTED = [torch.zeros(4, 3), torch.ones(4, 3)]

class Loader:
    def __iter__(self):
        return pairs()

loader = Loader()

def raising():
    raise KeyError("the data set is not there")
    yield

def empty():
    return []

def nonsense():
    return 5

def strings():
    yield "a", "b"
"""


@pytest.fixture
def loaders(tmp_path: Path) -> Path:
    path = tmp_path / "loaders.py"
    path.write_text(LOADERS)
    return path


@pytest.mark.parametrize(
    ("name", "batches", "labels"),
    [
        ("pairs", 5, 1),
        ("ragged", 1, 1),
        ("mapping", 1, 1),
        ("BATCH", 1, 1),
        ("LISTED", 2, 0),
        ("loader", 5, 1),
    ],
)
def test_a_loader_is_a_function_an_iterable_or_a_batch(
    loaders: Path, name: str, batches: int, labels: int
) -> None:
    call, found = read(f"{loaders}:{name}", One())
    assert call.batch_size == 4
    assert len(call.feeds[0].batches) == batches
    assert len(found) == labels


def test_a_loader_gives_no_more_batches_than_are_of_use(loaders: Path) -> None:
    call, _ = read(f"{loaders}:pairs", One(), ProbeOptions(steps=2, samples=8))
    assert len(call.feeds[0].batches) == 2


@pytest.mark.parametrize(
    ("item", "model", "inputs", "labels"),
    [
        ((torch.zeros(4, 3), torch.zeros(4)), One, ["images"], ["target"]),
        ((torch.zeros(4, 3), torch.zeros(4, 1)), Two, ["images", "scale"], []),
        (
            (torch.zeros(4, 3), torch.zeros(4, 1), torch.zeros(4)),
            Two,
            ["images", "scale"],
            ["target"],
        ),
        (
            ([torch.zeros(4, 3), torch.zeros(4, 1)], torch.zeros(4)),
            Two,
            ["images", "scale"],
            ["target"],
        ),
        (
            ({"images": torch.zeros(4, 3)}, {"a": torch.zeros(4), "b": torch.zeros(4)}),
            One,
            ["images"],
            ["a", "b"],
        ),
        (
            {"images": torch.zeros(4, 3), "more": torch.zeros(4, 3), "y": torch.zeros(4)},
            Whole,
            ["batch['images']", "batch['more']", "batch['y']"],
            ["y"],
        ),
    ],
)
def test_a_batch_is_split_into_what_forward_takes_and_labels(
    item: Any, model: type[nn.Module], inputs: list[str], labels: list[str]
) -> None:
    batch = from_loader([item], model(), OPTIONS, code(), what="the batch")
    assert names(batch.readings[0]) == (inputs, labels)


def test_a_mapping_that_forward_takes_whole_is_captured(tmp_path: Path) -> None:
    path = tmp_path / "batch.npz"
    np.savez(path, images=images(4), more=images(4))
    batch = load(str(path), Whole(), OPTIONS, code())
    assert names(batch.readings[-1]) == (["batch['images']", "batch['more']"], [])
    captured = capture_live(Whole(), {"images": torch.ones(4, 3), "more": torch.ones(4, 3)})
    assert [tensor.name for tensor in captured.tensors[:2]] == names(batch.readings[-1])[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: str(p / "none.npz"), "does not exist"),
        (lambda p: str(p / "batch.csv"), r"neither \.npz nor \.safetensors"),
        (lambda p: _written(p / "broken.npz", b"PK\x03\x04 nothing"), "cannot be read"),
        (lambda p: _written(p / "broken.safetensors", b"\xff" * 20), "cannot be read"),
        (lambda p: _saved(p, images=np.array(["a"], dtype=object)), "cannot be read"),
        (lambda p: _saved(p, images=np.array(["a", "b"])), "cannot be read"),
        (lambda p: _saved(p), "holds no arrays"),
        (lambda p: _saved(p, images=np.float32(3)), "no input has a dimension"),
        (lambda p: _saved(p, y=np.zeros(3)), "has nothing for forward's images"),
        (lambda p: _saved(p, images=images(), a=images(), b=images()), "forward takes no a, b"),
        (lambda p: f"{p / 'none.py'}:loader", "does not exist"),
    ],
)
def test_a_wrong_file_is_a_usage_error_that_says_what_is_wrong(
    tmp_path: Path, make: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read(make(tmp_path), One())


def _written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def _saved(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "batch.npz", **arrays)
    return str(folder / "batch.npz")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing", UsageError, "defines no missing"),
        ("raising", CaptureError, "raises KeyError"),
        ("empty", UsageError, "yields no batch"),
        ("nonsense", UsageError, "but this is a int"),
        ("strings", UsageError, "is a str|not a tensor|no input has"),
    ],
)
def test_a_wrong_loader_is_an_error_that_says_what_is_wrong(
    loaders: Path, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(f"{loaders}:{name}", One())


def test_too_few_samples_for_a_batch_are_an_error_with_the_number(tmp_path: Path) -> None:
    path = _saved(tmp_path, images=images(5))
    with pytest.raises(UsageError, match="holds 5 samples, fewer than a batch of 6") as caught:
        read(path, One(), ProbeOptions(batch_size=6))
    assert caught.value.hint == "Give --batch-size 5."


def test_data_on_which_forward_fails_is_refused_with_its_error() -> None:
    with pytest.raises(CaptureError, match="forward raises RuntimeError: mat1 and mat2 shapes"):
        capture_live(One(), torch.zeros(4, 7))


def test_labels_of_the_batch_are_the_targets_of_the_loss() -> None:
    labels = torch.tensor([1, 0, 1])
    captured = capture_live(One(), (torch.randn(3, 3), labels), nn.CrossEntropyLoss())
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert graph.tensors[1].role == graph_pb2.Tensor.ROLE_TARGET
    assert bytes(captured.blobs[graph.tensors[1].digest.sha256]) == struct.pack("<3q", 1, 0, 1)
