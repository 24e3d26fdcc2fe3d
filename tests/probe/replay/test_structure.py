from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from nnlint.probe_service.replay import structure
from nnlint.probe_service.replay.violations import MOST, Violation
from nnlint.protos.v1 import graph_pb2
from tests.probe import graphs

BUILT = {"mlp": graphs.mlp(), "convnet": graphs.convnet(), "sigmoid": graphs.sigmoid_net(depth=3)}


def structure_of(change: Callable[[graph_pb2.Graph], Any], name: str = "mlp") -> list[Violation]:
    graph = graph_pb2.Graph.FromString(BUILT[name].serialised)
    change(graph)
    return structure.check(graph, graphs.limits())


def violations(change: Callable[[graph_pb2.Graph], Any], name: str = "mlp") -> dict[str, str]:
    return {each.field: each.description for each in structure_of(change, name)}


@pytest.mark.parametrize("name", BUILT)
def test_a_good_graph_has_no_violation(name: str) -> None:
    assert structure.check(BUILT[name].graph, graphs.limits()) == []


def set_shape(shape: list[int]) -> Callable[[graph_pb2.Graph], None]:
    def change(graph: graph_pb2.Graph) -> None:
        graph.tensors[0].shape[:] = shape

    return change


def set_draw(**draw: Any) -> Callable[[graph_pb2.Graph], None]:
    return lambda graph: graph.tensors[0].draw.CopyFrom(graph_pb2.Draw(**draw))


def nested(graph: graph_pb2.Graph) -> None:
    graph.nodes[0].arguments[0].list.items.add().list.items.add().integer = 1


def autocast_twice(graph: graph_pb2.Graph) -> None:
    for _ in range(2):
        graph.regions[0].autocasts.add(device=1, dtype=graph_pb2.SCALAR_TYPE_BFLOAT16)


def strides(values: list[int]) -> Callable[[graph_pb2.Graph], None]:
    return lambda graph: graph.tensors[1].strides.extend(values)


NAN, INF = float("nan"), float("inf")
CASES: dict[str, tuple[Callable[[graph_pb2.Graph], Any], str]] = {
    "another version": (lambda g: setattr(g, "format_version", 2), "graph.format_version"),
    "no batch": (lambda g: setattr(g, "batch_size", 0), "graph.batch_size"),
    "an unknown operator": (
        lambda g: g.operators.__setitem__(0, "aten.nonsense.default"),
        "graph.operators[0]",
    ),
    "an operator that writes files": (
        lambda g: g.operators.__setitem__(0, "aten.from_file.default"),
        "graph.operators[0]",
    ),
    "a path for an operator": (
        lambda g: g.operators.__setitem__(0, "../../etc/passwd"),
        "graph.operators[0]",
    ),
    "a name of Python": (
        lambda g: g.operators.__setitem__(0, "torch.os.system"),
        "graph.operators[0]",
    ),
    "an operator twice": (lambda g: g.operators.append(g.operators[0]), "graph.operators[4]"),
    "an operator beyond the list": (
        lambda g: setattr(g.nodes[1], "operator", 99),
        "graph.nodes[1].operator",
    ),
    "a region beyond the list": (
        lambda g: setattr(g.nodes[1], "region", 1),
        "graph.nodes[1].region",
    ),
    "a cycle": (
        lambda g: setattr(g.nodes[1].arguments[0].reference, "node", 1),
        "graph.nodes[1].arguments[0]",
    ),
    "a reference forwards": (
        lambda g: setattr(g.nodes[1].arguments[0].reference, "node", 4),
        "graph.nodes[1].arguments[0]",
    ),
    "a dangling tensor": (
        lambda g: setattr(g.nodes[0].arguments[0].reference, "tensor", 2**32 - 1),
        "graph.nodes[0].arguments[0]",
    ),
    "a reference to nothing": (
        lambda g: (
            g.nodes[0].arguments[0].reference.Clear()
            or g.nodes[0].arguments[0].reference.SetInParent()
        ),
        "graph.nodes[0].arguments[0]",
    ),
    "a result that is not there": (
        lambda g: setattr(g.nodes[1].arguments[0].reference, "output", 1),
        "graph.nodes[1].arguments[0]",
    ),
    "a result that is no tensor": (
        lambda g: setattr(g.nodes[0].outputs[0], "dtype", 0),
        "graph.nodes[1].arguments[0]",
    ),
    "a list in a list": (nested, "graph.nodes[0].arguments[0].list.items[0]"),
    "a word that the operator does not take": (
        lambda g: setattr(g.nodes[0].arguments[0], "text", "/etc/passwd"),
        "graph.nodes[0].arguments[0]",
    ),
    "another device": (
        lambda g: setattr(g.nodes[0].arguments[0], "device", False),
        "graph.nodes[0].arguments[0]",
    ),
    "an unknown element type": (
        lambda g: setattr(g.nodes[0].arguments[0], "dtype", 77),
        "graph.nodes[0].arguments[0]",
    ),
    "an unknown memory format": (
        lambda g: setattr(g.nodes[0].arguments[0], "memory_format", 77),
        "graph.nodes[0].arguments[0]",
    ),
    "a negative size": (set_shape([-1, 12]), "graph.tensors[0].shape"),
    "a huge shape": (set_shape([2**40, 2**40]), "graph.tensors[0].shape"),
    "a huge shape hidden by a zero": (set_shape([0, 2**62, 2**62]), "graph.tensors[0].shape"),
    "too many dimensions": (set_shape([1] * 40), "graph.tensors[0].shape"),
    "a huge result": (
        lambda g: g.nodes[0].outputs[0].shape.append(2**40),
        "graph.nodes[0].outputs[0].shape",
    ),
    "overlapping strides": (strides([1, 1]), "graph.tensors[1].shape"),
    "strides with gaps": (strides([24, 2]), "graph.tensors[1].shape"),
    "too few strides": (strides([1]), "graph.tensors[1].shape"),
    "negative strides": (strides([12, -1]), "graph.tensors[1].shape"),
    "a short digest": (
        lambda g: setattr(g.tensors[1].digest, "sha256", b"x"),
        "graph.tensors[1].digest.sha256",
    ),
    "a size that is not that of the shape": (
        lambda g: setattr(g.tensors[1].digest, "size_bytes", 2**63),
        "graph.tensors[1].digest.size_bytes",
    ),
    "a drawn parameter": (
        lambda g: setattr(g.tensors[0], "role", graph_pb2.Tensor.ROLE_PARAMETER),
        "graph.tensors[0]",
    ),
    "no content": (lambda g: g.tensors[0].ClearField("draw"), "graph.tensors[0]"),
    "no role": (lambda g: setattr(g.tensors[0], "role", 0), "graph.tensors[0].role"),
    "an unknown role": (lambda g: setattr(g.tensors[0], "role", 99), "graph.tensors[0].role"),
    "a gradient of integers": (
        lambda g: setattr(g.tensors[len(g.tensors) - 1], "requires_grad", True),
        "graph.tensors[7].requires_grad",
    ),
    "batches of a draw": (
        lambda g: setattr(g.tensors[0], "batches", 2),
        "graph.tensors[0].batches",
    ),
    "batches of a parameter": (
        lambda g: setattr(g.tensors[1], "batches", 2),
        "graph.tensors[1].batches",
    ),
    "a deviation of NaN": (
        set_draw(normal={"standard_deviation": NAN}),
        "graph.tensors[0].draw.normal",
    ),
    "a negative deviation": (
        set_draw(normal={"standard_deviation": -1}),
        "graph.tensors[0].draw.normal",
    ),
    "an infinite bound": (
        set_draw(uniform={"low": 0, "high": INF}),
        "graph.tensors[0].draw.uniform",
    ),
    "bounds whose difference overflows": (
        set_draw(uniform={"low": -1.7e308, "high": 1.7e308}),
        "graph.tensors[0].draw.uniform",
    ),
    "bounds in the wrong order": (
        set_draw(integers={"low": 1, "high": 1}),
        "graph.tensors[0].draw.integers",
    ),
    "a probability of two": (
        set_draw(binary={"probability": 2}),
        "graph.tensors[0].draw.binary",
    ),
    "a simplex along no dimension": (
        set_draw(simplex={"dimension": 2}),
        "graph.tensors[0].draw.simplex",
    ),
    "no distribution": (set_draw(), "graph.tensors[0].draw"),
    "a region for no device": (
        lambda g: g.regions[0].autocasts.add(dtype=graph_pb2.SCALAR_TYPE_FLOAT16),
        "graph.regions[0].autocasts[0].device",
    ),
    "autocast to integers": (
        lambda g: g.regions[0].autocasts.add(device=1, dtype=graph_pb2.SCALAR_TYPE_INT8),
        "graph.regions[0].autocasts[0].dtype",
    ),
    "autocast of one device twice": (autocast_twice, "graph.regions[0].autocasts[1].device"),
    "a loss of many numbers": (lambda g: setattr(g.loss, "node", 0), "graph.loss"),
    "a loss of integers": (
        lambda g: setattr(
            g.nodes[len(g.nodes) - 1].outputs[0], "dtype", graph_pb2.SCALAR_TYPE_INT64
        ),
        "graph.loss",
    ),
    "no loss": (lambda g: g.ClearField("loss"), "graph.loss"),
    "a tensor for a loss": (lambda g: setattr(g.loss, "tensor", 0), "graph.loss"),
    "an output that is not there": (
        lambda g: setattr(g.outputs[0], "node", 1000),
        "graph.outputs[0]",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named_by_its_field(case: str) -> None:
    change, field = CASES[case]
    found = violations(change)
    assert field in found, found


def test_integers_must_fit_their_type() -> None:
    def change(graph: graph_pb2.Graph) -> None:
        labels = graph.tensors[len(graph.tensors) - 1]
        labels.dtype = graph_pb2.SCALAR_TYPE_UINT8
        labels.draw.integers.high = 300

    assert "graph.tensors[7].draw.integers" in violations(change)


def test_an_answer_has_a_few_violations_however_much_is_wrong() -> None:
    def change(graph: graph_pb2.Graph) -> None:
        for _ in range(1000):
            graph.nodes.add(operator=99)

    assert len(structure_of(change)) == MOST


def test_a_keyword_is_given_once() -> None:
    def change(graph: graph_pb2.Graph) -> None:
        for _ in range(2):
            graph.nodes[0].keywords.add(name="x").value.integer = 1

    assert "graph.nodes[0].keywords[1].name" in violations(change)


def test_names_of_a_client_are_cut_and_escaped() -> None:
    def change(graph: graph_pb2.Graph) -> None:
        graph.operators[0] = "\x1b[31m" + "a" * 10_000

    description = violations(change)["graph.operators[0]"]
    assert "\x1b" not in description
    assert len(description) < 150


def test_limits_bound_nodes_elements_and_blobs() -> None:
    graph = BUILT["mlp"].graph
    assert [each.field for each in structure.check(graph, graphs.limits(nodes=3))] == [
        "graph.nodes",
        "graph.tensors",
    ]
    found = structure.check(graph, graphs.limits(elements=100))
    assert "graph.tensors[1].shape" in {each.field for each in found}
    found = structure.check(graph, graphs.limits(blob_bytes=100))
    assert "graph.tensors[1].digest.size_bytes" in {each.field for each in found}


def test_dense_strides_in_any_order_are_fine() -> None:
    assert violations(strides([1, 16])) == {}


def test_the_front_can_use_it_without_torch() -> None:
    code = "import sys, nnlint.probe_service.replay.structure; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a serialised message with a few bytes changed, cut out, or doubled."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        kind = chance.random()
        if kind < 0.6:
            data[place] = chance.randrange(256)
        elif kind < 0.8:
            del data[place : place + chance.randint(1, 8)]
        else:
            data[place:place] = data[place : place + chance.randint(1, 64)]
        if not data:
            return b""
    return bytes(data)


def test_thousands_of_damaged_graphs_are_judged_and_none_crashes() -> None:
    chance = random.Random(0)  # noqa: S311 - repeatable
    limits = graphs.limits()
    refused = parsed = 0
    for _ in range(10_000):
        content = mutated(chance.choice(list(BUILT.values())).serialised, chance)
        try:
            graph = graph_pb2.Graph.FromString(content)
        except DecodeError:
            continue
        parsed += 1
        refused += bool(structure.check(graph, limits))
    assert parsed > 1_000
    # What is left are changed digests and numbers, which only their content can tell.
    assert refused > parsed / 4


EXTREMES: dict[str, list[Any]] = {
    "int": [0, 1, -1, 2**31 - 1, -(2**31)],
    "uint32": [0, 1, 5, 2**32 - 1],
    "uint64": [0, 1, 2**64 - 1],
    "int64": [0, 1, -1, 2**63 - 1, -(2**63), 7],
    "double": [0.0, 1.0, NAN, INF, -INF, 1e308, 5e-324],
    "bytes": [b"", b"\0" * 32, b"x" * 33],
    "str": ["", "aten.relu.default", "../x", "\0", "a" * 300, "reflect"],
    "bool": [False, True],
}


def random_message(message: Any, chance: random.Random, depth: int = 0) -> Any:
    """Fill a message at random, from its descriptor alone."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.35:
            continue
        if field.message_type is not None:
            if depth > 4:
                continue
            if field.is_repeated if hasattr(field, "is_repeated") else field.label == 3:
                for _ in range(chance.randint(0, 4)):
                    random_message(getattr(message, field.name).add(), chance, depth + 1)
            else:
                child = getattr(message, field.name)
                child.SetInParent()
                random_message(child, chance, depth + 1)
            continue
        kind = {1: "double", 3: "int64", 4: "uint64", 8: "bool", 9: "str", 12: "bytes"}.get(
            field.type
        )
        kind = kind or {13: "uint32", 14: "int", 18: "int64", 5: "int"}[field.type]
        values = EXTREMES[kind]
        if field.is_repeated if hasattr(field, "is_repeated") else field.label == 3:
            getattr(message, field.name).extend(chance.choices(values, k=chance.randint(0, 4)))
        else:
            setattr(message, field.name, chance.choice(values))
    return message


def test_thousands_of_random_messages_are_judged_and_none_crashes() -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable
    limits = graphs.limits()
    for _ in range(3_000):
        graph = random_message(graph_pb2.Graph(), chance)
        if chance.random() < 0.9:
            graph.format_version = 1
        assert structure.check(graph, limits)


def test_the_time_grows_with_the_size_and_no_faster() -> None:
    def taken(nodes: int) -> float:
        b = graphs.Builder()
        x = b.input(8, 8)
        for _ in range(nodes):
            x = b.call("aten.relu.default", x, shape=(8, 8))
        graph = b.build(b.call("aten.sum.default", x, shape=())).graph
        started = time.process_time()
        assert structure.check(graph, graphs.limits()) == []
        return time.process_time() - started

    taken(100)
    small = min(taken(1_000) for _ in range(3))
    assert taken(10_000) < 30 * small + 0.1
