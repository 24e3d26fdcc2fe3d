"""What goes on the wire: plain data, the same for ever, and nothing of the user's names."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.encode.encode import (
    NotEncodableError,
    argument,
    content,
    encode,
    region,
    strides,
)
from nnlint.probe_service.encode.scalars import dtype_of, memory_format_of
from nnlint.probe_service.encode.step import Autocast, Entry, Mode, Operation, Ref, Result, Step
from nnlint.probe_service.options import ProbeOptions
from nnlint.probe_service.replay.blobs import source
from nnlint.protos.v1 import graph_pb2
from tests.probe.capture import small

GOLDEN = Path(__file__).parent / "golden"
DTYPES = [d for d in (dtype_of(n) for n in graph_pb2.ScalarType.values()) if d is not None]
FORMATS = [
    f for f in (memory_format_of(n) for n in graph_pb2.MemoryFormat.values()) if f is not None
]


def decoded(message: graph_pb2.Argument) -> Any:
    kind = message.WhichOneof("value")
    match kind:
        case None:
            return None
        case "reference":
            ref = message.reference
            if ref.WhichOneof("source") == "tensor":
                return Ref("tensor", ref.tensor)
            return Ref("node", ref.node, ref.output)
        case "dtype":
            return dtype_of(message.dtype)
        case "memory_format":
            return memory_format_of(message.memory_format)
        case "list":
            return [decoded(item) for item in message.list.items]
        case "device":
            return torch.device("cpu")
        case _:
            return getattr(message, kind)


items = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.sampled_from(DTYPES),
    st.sampled_from(FORMATS),
    st.just(torch.device("cpu")),
    st.builds(Ref, st.just("tensor"), st.integers(0, 2**32 - 1)),
    st.builds(Ref, st.just("node"), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return isinstance(b, list) and all(map(same, a, b)) and len(a) == len(b)
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)


@given(st.one_of(items, st.lists(items, max_size=8)))
def test_every_argument_comes_back_from_the_wire_as_it_was(value: Any) -> None:
    wire = argument(value).SerializeToString()
    assert same(decoded(graph_pb2.Argument.FromString(wire)), value)


@settings(deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 4), max_size=4),
    st.randoms(use_true_random=False),
)
def test_the_content_of_a_tensor_comes_back_with_its_order_in_memory(
    dtype: torch.dtype, shape: list[int], chance: Any
) -> None:
    generator = torch.Generator().manual_seed(chance.randrange(1000))
    order = list(range(len(shape)))
    chance.shuffle(order)
    values = torch.randn(shape, generator=generator).mul(5).to(dtype)
    back = sorted(range(len(order)), key=order.__getitem__)
    tensor = values.permute(order).contiguous().permute(back)
    entry = Entry(graph_pb2.Tensor.ROLE_CONSTANT, tuple(shape), dtype, contents=(tensor,))
    encoded = encode(Step(tensors=[entry]))
    message = graph_pb2.Graph.FromString(encoded.graph.SerializeToString()).tensors[0]
    data = encoded.blobs[message.digest.sha256]
    assert hashlib.sha256(data).digest() == message.digest.sha256
    assert message.digest.size_bytes == len(data) == tensor.numel() * tensor.element_size()
    found = source(message, 0, lambda _: data).fresh(torch.device("cpu"), seed=0, step=0)
    assert found.dtype == dtype
    assert torch.equal(found, tensor)
    if tensor.numel() > 1 and strides(tensor):
        assert found.stride() == tensor.stride()


def test_elements_are_in_row_major_order_and_little_endian() -> None:
    tensor = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t()
    assert bytes(content([tensor])) == struct.pack("<4f", 1, 3, 2, 4)
    assert bytes(content([torch.tensor([1, -2])])) == struct.pack("<2q", 1, -2)


def test_a_blob_is_a_view_of_a_contiguous_tensor_that_outlives_it() -> None:
    tensor = torch.arange(4.0)
    view = content([tensor])
    tensor[0] = 7
    assert bytes(view[:4]) == struct.pack("<f", 7)
    assert view.readonly
    del tensor
    assert bytes(view[4:8]) == struct.pack("<f", 1)


def test_equal_contents_are_one_blob_and_batches_follow_one_another() -> None:
    ones = Entry(graph_pb2.Tensor.ROLE_BUFFER, (3,), torch.float32, contents=(torch.ones(3),))
    batches = Entry(
        graph_pb2.Tensor.ROLE_INPUT,
        (2,),
        torch.int64,
        contents=(torch.tensor([1, 2]), torch.tensor([3, 4])),
    )
    encoded = encode(Step(tensors=[ones, ones, batches]))
    assert len(encoded.blobs) == 2
    message = encoded.graph.tensors[2]
    assert message.batches == 2
    assert bytes(encoded.blobs[message.digest.sha256]) == struct.pack("<4q", 1, 2, 3, 4)


@pytest.mark.parametrize(
    "value", [1j, 2**63, [[1]], object(), torch.uint64, {"a": 1}], ids=lambda value: str(value)[:20]
)
def test_a_value_without_a_place_in_the_message_is_refused(value: Any) -> None:
    with pytest.raises(NotEncodableError):
        argument(value)


def test_a_refused_value_names_its_operation() -> None:
    good = Operation("aten.relu.default", (Ref("tensor", 0),), {}, 0, (Result(torch.float32),))
    bad = Operation("aten.mul.Scalar", (Ref("node", 0), 1j), {}, 0, (Result(torch.float32),))
    with pytest.raises(NotEncodableError, match="complex") as caught:
        encode(Step(operations=[good, bad]))
    assert caught.value.operation == 1


def test_modes_are_regions_with_the_one_they_are_entered_in() -> None:
    cast = Autocast("cuda", torch.float16, enabled=True, cache_enabled=False)
    message = region(Mode(grad=False, autocasts=(cast,), parent=3))
    assert not message.grad_enabled
    assert message.parent == 3
    assert message.autocasts[0].device == graph_pb2.Region.Autocast.DEVICE_CUDA
    assert message.autocasts[0].dtype == graph_pb2.SCALAR_TYPE_FLOAT16
    assert not message.autocasts[0].cache_enabled


MODELS: dict[str, tuple[Callable[[], nn.Module], Any, Any]] = {
    "digits": (small.Digits, torch.zeros(2, 6), "cross_entropy"),
    "residual": (small.Residual, torch.zeros(2, 3, 4, 4), "cross_entropy"),
    "nested": (small.Nested, torch.zeros(2, 8), "mse_loss"),
    "words": (small.Words, None, "cross_entropy"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_of_a_small_model_stays_as_it_is(
    name: str, golden: Callable[[Path, str], None]
) -> None:
    make, batch, loss = MODELS[name]
    captured = capture_live(small.fixed(make()), batch, loss, ProbeOptions(batch_size=2))
    graph = graph_pb2.Graph.FromString(captured.graph)
    golden(GOLDEN / f"{name}.txtpb", text_format.MessageToString(graph))
    assert set(captured.blobs) == {t.digest.sha256 for t in graph.tensors if t.HasField("digest")}


def test_nothing_of_the_users_names_or_source_is_in_a_graph() -> None:
    for name, (make, batch, loss) in small.CASES.items():
        model = make().train()
        captured = capture_live(model, batch, loss)
        words = {type(model).__name__, type(model).__qualname__, "small.py", __file__, "tests"}
        words |= {path for path, _ in model.named_modules() if len(path) > 3}
        words |= {path for path, _ in model.named_parameters()}
        words |= {path.rpartition(".")[2] for path, _ in model.named_buffers()}
        words |= {"self", "forward", "images", "tokens", "model."}
        text = captured.graph.decode("latin-1")
        operators = "".join(graph_pb2.Graph.FromString(captured.graph).operators)
        found = {word for word in words if word in text and word not in operators}
        assert not found, f"{name}: {found}"
