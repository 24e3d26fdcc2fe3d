from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from nnlint.probe_service.replay.decode import decode
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.violations import InvalidGraphError
from nnlint.protos.v1 import graph_pb2, probe_service_pb2
from tests.probe import graphs
from tests.probe.replay.running import CPU, load, step

ProbeSettings = probe_service_pb2.ProbeSettings


def copies(program: Program) -> list[torch.Tensor]:
    return [each.detach().clone().requires_grad_() for each in program.trained()]


def assert_gradients_equal(program: Program, expected: list[torch.Tensor]) -> None:
    for mine, theirs in zip(program.trained(), expected, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)


def test_loss_and_gradients_equal_eager_to_the_bit_with_dropout() -> None:
    program = load(graphs.mlp(), seed=7)
    w1, b1, w2, b2, w3, b3 = expected = copies(program)
    loss = step(program)
    inputs = program.inputs(0)
    x, labels = inputs.values()
    torch.manual_seed(program.step_seed(0))
    hidden = torch.relu(F.linear(torch.relu(F.linear(x, w1, b1)), w2, b2))
    eager = F.cross_entropy(F.linear(F.dropout(hidden, 0.5), w3, b3), labels)
    eager.backward()
    assert torch.equal(loss, eager)
    assert_gradients_equal(program, expected)


def test_gradients_and_buffers_equal_eager_with_batch_norm_in_training() -> None:
    program = load(graphs.convnet())
    w, b, gamma, beta, w2, b2 = expected = copies(program)
    mean, variance = torch.zeros(6), torch.ones(6)
    loss = step(program)
    x, labels = program.inputs(0).values()
    y = F.batch_norm(F.conv2d(x, w, b, 1, 1), mean, variance, gamma, beta, training=True)
    eager = F.cross_entropy(F.linear(F.relu_(y).mean((2, 3)), w2, b2), labels)
    eager.backward()
    assert torch.equal(loss, eager)
    assert_gradients_equal(program, expected)
    count, *statistics = program.changing().values()
    assert count.item() == 1
    assert torch.equal(statistics[0], mean)
    assert torch.equal(statistics[1], variance)


def test_reset_returns_to_what_was_captured() -> None:
    program = load(graphs.convnet())
    before = {index: tensor.detach().clone() for index, tensor in program.state().items()}
    step(program)
    with torch.no_grad():
        for parameter in program.trained():
            parameter.mul_(2)
    program.reset()
    assert all(torch.equal(before[index], now) for index, now in program.state().items())
    assert all(parameter.grad is None for parameter in program.trained())


def test_the_blobs_are_never_written_to() -> None:
    built = graphs.convnet()
    content = {key: bytearray(value) for key, value in built.blobs.items()}
    program = Program.load(built.graph, lambda digest: content[digest.sha256], device=CPU)
    step(program)
    with torch.no_grad():
        for parameter in program.trained():
            parameter.zero_()
    assert {key: bytes(value) for key, value in content.items()} == dict(built.blobs)


def test_each_step_draws_other_inputs_and_the_same_step_the_same() -> None:
    program = load(graphs.mlp())
    first, second = step(program, 0), step(program, 1)
    assert not torch.equal(first, second)
    assert torch.equal(first, step(program, 0))


def test_stored_batches_come_one_after_the_other() -> None:
    b = graphs.Builder(batch_size=2)
    x = b.tensor(
        graph_pb2.Tensor.ROLE_INPUT, (2,), values=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], batches=3
    )
    built = b.build(b.call("aten.sum.default", x, shape=()))
    program = load(built)
    assert [step(program, each).item() for each in range(4)] == [3.0, 7.0, 11.0, 3.0]
    assert program.batches() == 3
    assert load(graphs.mlp()).batches() is None


def test_an_input_that_the_model_overwrites_is_whole_in_the_next_step() -> None:
    b = graphs.Builder(batch_size=2)
    x = b.tensor(graph_pb2.Tensor.ROLE_INPUT, (2,), values=[-1.0, 2.0], batches=1)
    relu = b.call("aten.relu_.default", x, shape=(2,))
    program = load(b.build(b.call("aten.sum.default", relu, shape=())))
    step(program)
    assert program.inputs(1)[0].tolist() == [-1.0, 2.0]


def test_weights_get_their_declared_strides() -> None:
    b = graphs.Builder()
    x = b.input(2, 3, 6, 6)
    values = [float(i) for i in range(4 * 3 * 2 * 2)]
    weight = b.tensor(
        graph_pb2.Tensor.ROLE_PARAMETER,
        (4, 3, 2, 2),
        values=values,
        requires_grad=True,
        strides=(12, 1, 6, 3),
    )
    y = b.call("aten.conv2d.default", x, weight, shape=(2, 4, 5, 5))
    program = load(b.build(b.call("aten.mean.default", y, shape=())))
    tensor = program.tensor(1)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(tensor.detach().reshape(-1), torch.tensor(values))


def test_no_grad_regions_cut_gradients_and_the_mode_of_the_caller_comes_back() -> None:
    b = graphs.Builder()
    frozen = b.region(grad_enabled=False)
    w = b.parameter(3, 4)
    x = b.input(8, 4)
    y = b.call("aten.linear.default", x, w, shape=(8, 3))
    z = b.call("aten.linear.default", x, w, shape=(8, 3), region=frozen)
    loss = b.call("aten.sum.default", b.call("aten.mul.Tensor", y, z, shape=(8, 3)), shape=())
    program = load(b.build(loss))
    with torch.enable_grad():
        step(program)
        assert torch.is_grad_enabled()
    x_value = program.inputs(0)[1]
    weight = program.trained()[0].detach().clone().requires_grad_()
    with torch.no_grad():
        constant = F.linear(x_value, weight)
    (F.linear(x_value, weight) * constant).sum().backward()
    assert torch.equal(program.trained()[0].grad, weight.grad)  # type: ignore[arg-type]


def autocast(device: int, *, enabled: bool = True) -> Any:
    return graph_pb2.Region.Autocast(
        device=device,  # type: ignore[arg-type]
        dtype=graph_pb2.SCALAR_TYPE_BFLOAT16,
        enabled=enabled,
        cache_enabled=True,
    )


def test_autocast_regions_cast_on_their_own_kind_of_device_alone() -> None:
    for device, dtype in ((1, torch.bfloat16), (2, torch.float32)):
        b = graphs.Builder()
        inner = b.region(autocasts=[autocast(device)])
        w, x = b.parameter(3, 4), b.input(8, 4)
        y = b.call("aten.linear.default", x, w, shape=(8, 3), region=inner)
        program = load(b.build(b.call("aten.sum.default", y, shape=())))
        seen: list[torch.dtype] = []
        watch = [lambda value, seen=seen: seen.append(value.dtype), None]
        program.inputs(0)
        program.forward(watch=watch)
        assert seen == [dtype]
        assert not torch.is_autocast_enabled("cpu")


def test_autocast_equals_eager_also_where_it_is_switched_off_within() -> None:
    b = graphs.Builder()
    b.graph.regions[0].autocasts.append(autocast(1))
    off = b.region(autocasts=[autocast(1, enabled=False)])
    w, x = b.parameter(4, 4), b.input(8, 4)
    y = b.call("aten.linear.default", x, w, shape=(8, 4))
    y = b.call(
        "aten.to.dtype", y, graph_pb2.Argument(dtype=graphs.FLOAT32), shape=(8, 4), region=off
    )
    y = b.call("aten.linear.default", y, w, shape=(8, 4), region=off)
    y = b.call("aten.linear.default", y, w, shape=(8, 4))
    y = b.call("aten.to.dtype", y, graph_pb2.Argument(dtype=graphs.FLOAT32), shape=(8, 4))
    program = load(b.build(b.call("aten.sum.default", y, shape=())))
    loss = step(program)
    x_value = program.inputs(0)[1]
    weight = program.trained()[0].detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = F.linear(x_value, weight)
        with torch.autocast("cpu", enabled=False):
            z = F.linear(z.float(), weight)
        eager = F.linear(z, weight).float().sum()
    eager.backward()
    assert torch.equal(loss, eager)
    assert torch.equal(program.trained()[0].grad, weight.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("built", [graphs.mlp(), graphs.convnet()])
def test_bfloat16_holds_parameters_and_inputs(built: graphs.Built) -> None:
    program = load(built, precision=ProbeSettings.PRECISION_BFLOAT16)
    assert {each.dtype for each in program.trained()} == {torch.bfloat16}
    loss = step(program)
    assert loss.dtype == torch.bfloat16
    assert torch.isfinite(loss)
    assert all(each.grad is not None for each in program.trained())


def test_autocast_as_a_precision_casts_where_the_graph_does_not_say_otherwise() -> None:
    program = load(graphs.mlp(), precision=ProbeSettings.PRECISION_AUTOCAST_BFLOAT16)
    seen: list[torch.dtype] = []
    watch: list[Any] = [None] * len(program.calls)
    watch[0] = lambda value: seen.append(value.dtype)
    program.inputs(0)
    loss = program.forward(watch=watch)
    program.backward(loss)
    assert seen == [torch.bfloat16]
    assert {each.grad.dtype for each in program.trained() if each.grad is not None} == {
        torch.float32
    }


def test_results_are_freed_after_their_last_use() -> None:
    import weakref

    b = graphs.Builder()
    frozen = b.region(grad_enabled=False)
    x = b.input(64, 64)
    for _ in range(6):
        x = b.call("aten.exp.default", x, shape=(64, 64), region=frozen)
    program = load(b.build(b.call("aten.sum.default", x, shape=(), region=frozen)))
    alive: list[Any] = []
    most = 0

    def see(value: torch.Tensor) -> None:
        nonlocal most
        alive.append(weakref.ref(value))
        most = max(most, sum(reference() is not None for reference in alive))

    program.inputs(0)
    program.forward(watch=[see] * 7)
    assert most <= 2


def test_results_of_every_kind_are_referred_to() -> None:
    b = graphs.Builder()
    x = b.input(4, 6)
    left = b.call(
        "aten.split.Tensor", x, 3, 1, outputs=[(graphs.FLOAT32, (4, 3)), (graphs.FLOAT32, (4, 3))]
    )
    right = graph_pb2.Reference(node=0, output=1)
    top = b.call("aten.cat.default", [right, left], 1, shape=(4, 6))
    values = b.call("aten.max.dim", top, 1, outputs=[(graphs.FLOAT32, (4,)), (graphs.INT64, (4,))])
    program = load(b.build(b.call("aten.sum.default", values, shape=())))
    loss = step(program)
    x_value = program.inputs(0)[0]
    assert torch.equal(loss, x_value.max(1).values.sum())


def test_the_journal_names_each_node_and_then_none() -> None:
    program = load(graphs.mlp(depth=1))
    told: list[int] = []
    program.inputs(0)
    program.forward(journal=told.append)
    assert told == [0, 1, 2, 3, 4, -1]


def with_argument(value: Any, *, position: int = 0, name: str = "") -> graph_pb2.Graph:
    graph = graph_pb2.Graph.FromString(graphs.convnet().serialised)
    if name:
        graph.nodes[0].keywords.add(name=name, value=graphs.argument(value))
    else:
        graph.nodes[0].arguments[position].CopyFrom(graphs.argument(value))
    return graph


@pytest.mark.parametrize(
    ("graph", "field"),
    [
        (with_argument(1.5, position=0), None),
        (with_argument("valid", position=3), "graph.nodes[0].arguments[3]"),
        (with_argument(None, position=1), "graph.nodes[0].arguments[1]"),
        (with_argument([1.5], position=3), "graph.nodes[0].arguments[3].list.items[0]"),
        (with_argument([None], position=3), "graph.nodes[0].arguments[3].list.items[0]"),
        (with_argument(True, position=3), "graph.nodes[0].arguments[3]"),  # noqa: FBT003
        (with_argument(3, name="nonsense"), "graph.nodes[0].keywords[0].name"),
        (with_argument(3, name="weight"), "graph.nodes[0].keywords[0].name"),
        (with_argument(3.5, name="groups"), "graph.nodes[0].keywords[0].value"),
        (with_argument(3, name="__class__"), "graph.nodes[0].keywords[0].name"),
    ],
)
def test_arguments_are_compared_with_the_schema(graph: graph_pb2.Graph, field: str | None) -> None:
    if field is None:
        decode(graph, device=CPU)
        return
    with pytest.raises(InvalidGraphError) as caught:
        decode(graph, device=CPU)
    assert [each.field for each in caught.value.violations] == [field]


def test_too_many_and_too_few_arguments_are_refused() -> None:
    graph = graph_pb2.Graph.FromString(graphs.mlp().serialised)
    del graph.nodes[0].arguments[1:]
    with pytest.raises(InvalidGraphError, match="needs weight"):
        decode(graph, device=CPU)
    graph = graph_pb2.Graph.FromString(graphs.mlp().serialised)
    graph.nodes[1].arguments.add()
    with pytest.raises(InvalidGraphError, match="takes 1 positional"):
        decode(graph, device=CPU)


def test_an_operator_that_is_not_reviewed_is_never_looked_up() -> None:
    graph = graph_pb2.Graph.FromString(graphs.mlp().serialised)
    graph.operators[0] = "aten.from_file.default"
    with pytest.raises(InvalidGraphError, match="reviewed"):
        decode(graph, device=CPU)


def test_new_tensors_are_made_on_the_device_of_the_probe() -> None:
    b = graphs.Builder()
    zeros = b.call("aten.zeros.default", [2, 3], shape=(2, 3))
    graph = b.build(b.call("aten.sum.default", zeros, shape=())).graph
    call = decode(graph, device=torch.device("meta"), types={torch.float32: torch.bfloat16}).calls[
        0
    ]
    assert call.keywords == {"device": torch.device("meta"), "dtype": torch.bfloat16}
