from __future__ import annotations

import random
import resource
import struct
from typing import Any

import pytest
import torch

from nnlint.probe_service.replay import memory, shapes
from nnlint.probe_service.replay.run import sentence
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2
from tests.probe import graphs, probing
from tests.probe.replay.running import CPU, answered, probe

Result = measurement_pb2.Result
Stage = probe_service_pb2.Stage
Settings = probe_service_pb2.ProbeSettings


def test_a_probe_tells_its_stages_plan_steps_and_result_in_order() -> None:
    events = probe(graphs.mlp(), steps=2, samples=64)
    assert events.kinds == ["stage", "stage", "plan", "stage", "step", "step", "stage", "result"]
    assert events.stages == [
        Stage.KIND_CHECKING,
        Stage.KIND_LOADING,
        Stage.KIND_RUNNING,
        Stage.KIND_SAMPLING,
    ]
    result = events.result
    assert (result.status, result.steps) == (Result.STATUS_COMPLETED, 2)
    assert not result.HasField("node")
    assert result.environment.device == "cpu"
    assert result.environment.torch_version == torch.__version__
    assert result.estimated_bytes > 0
    assert result.timings.running > 0
    assert events.journal[-1] == -1
    assert set(range(7)) < set(events.journal)


def test_the_same_probe_gives_the_same_numbers_and_another_seed_others() -> None:
    def losses(seed: int) -> list[float]:
        return [step.loss for step in probe(graphs.mlp(), steps=3, seed=seed).steps]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_every_experiment_begins_with_the_initial_state() -> None:
    built = graphs.convnet()
    request = built.request(steps=3)
    request.settings.experiments.append(request.settings.experiments[0])
    events = answered(built, request)
    first, second = events.steps[:3], events.steps[3:]
    assert [step.loss for step in first] == [step.loss for step in second]
    assert events.result.steps == 6


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"steps": 0}, "settings.experiments[0].gradients.steps"),
        ({"steps": 2**31}, "settings.experiments[0].gradients.steps"),
        ({"samples": 2**62}, "settings.experiments[0].gradients.samples"),
        (
            {"learning_rate": float("nan")},
            "settings.experiments[0].gradients.optimizer.learning_rate",
        ),
        ({"learning_rate": -1.0}, "settings.experiments[0].gradients.optimizer.learning_rate"),
        ({"momentum": float("inf")}, "settings.experiments[0].gradients.optimizer.sgd.momentum"),
        ({"precision": 4}, "settings.precision"),
        ({"precision": 99}, "settings.precision"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_their_field(
    settings: dict[str, Any], field: str
) -> None:
    assert field in probe(graphs.mlp(), **settings).violations


def test_nothing_to_do_is_refused() -> None:
    built = graphs.mlp()
    request = built.request()
    for experiments in ([], [probe_service_pb2.Experiment()]):
        del request.settings.experiments[:]
        request.settings.experiments.extend(experiments)
        (field,) = answered(built, request).violations
        assert field.startswith("settings.experiments")


def test_a_graph_that_does_not_parse_is_refused() -> None:
    built = graphs.mlp()
    events = probe(built, read=lambda digest: b"\xff" * digest.size_bytes)
    assert "graph" in events.violations


@pytest.mark.parametrize("how", ["absent", "short"])
def test_a_blob_that_is_not_there_or_too_short_is_refused(how: str) -> None:
    built = graphs.mlp()

    def read(digest: graph_pb2.Digest) -> bytes:
        content = built.everything()[digest.sha256]
        if digest.sha256 not in built.blobs:
            return content
        if how == "absent":
            raise FileNotFoundError(digest.sha256.hex())
        return content[:-1]

    ((field, description),) = probe(built, read=read).violations.items()
    assert field.startswith("blob ")
    assert "blob" in description


def changed(change: Any, built: graphs.Built | None = None) -> graphs.Built:
    built = built or graphs.mlp()
    graph = graph_pb2.Graph.FromString(built.serialised)
    change(graph)
    return graphs.Built(graph, built.blobs)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda g: g.nodes[0].outputs[0].shape.__setitem__(1, 17), "graph.nodes[0].outputs[0]"),
        (
            lambda g: setattr(g.nodes[1].outputs[0], "dtype", graph_pb2.SCALAR_TYPE_FLOAT64),
            "graph.nodes[1].outputs[0]",
        ),
        (lambda g: setattr(g.nodes[0].arguments[1].reference, "tensor", 3), "graph.nodes[0]"),
        (lambda g: g.nodes[0].outputs.add(dtype=1), "graph.nodes[0].outputs"),
        (lambda g: setattr(g.nodes[0].arguments[1], "integer", 2**62), "graph.nodes[0]"),
    ],
)
def test_what_operators_would_refuse_is_refused_by_node(change: Any, field: str) -> None:
    assert list(probe(changed(change)).violations) == [field]


def test_sizes_that_only_show_when_running_are_refused_before_anything_is_allocated() -> None:
    b = graphs.Builder()
    huge = b.call("aten.zeros.default", [1 << 20, 1 << 20], shape=(8,))
    loss = b.call("aten.sum.default", huge, shape=())
    assert list(probe(b.build(loss)).violations) == ["graph.nodes[0].outputs[0]"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("aten.unbind.int", (0,)),
        ("aten.split.Tensor", (1, 0)),
        ("aten.chunk.default", (1 << 40, 0)),
        ("aten.tensor_split.sections", (1 << 40, 0)),
    ],
)
def test_a_tensor_is_not_cut_into_millions_of_parts(name: str, arguments: tuple[int, ...]) -> None:
    b = graphs.Builder()
    x = b.call("aten.zeros.default", [1 << 24], shape=(1 << 24,))
    part = b.call(name, x, *arguments, shape=(1,))
    built = b.build(b.call("aten.sum.default", part, shape=()))
    assert list(probe(built).violations) == ["graph.nodes[1]"]


def test_an_index_beyond_its_table_ends_the_run_with_the_node_and_no_path() -> None:
    b = graphs.Builder()
    rows = b.call("aten.embedding.default", b.parameter(4, 3), b.labels(9, 8), shape=(8, 3))
    built = b.build(b.call("aten.sum.default", rows, shape=()))
    result = probe(built).result
    assert (result.status, result.node) == (Result.STATUS_OPERATOR_FAILED, 0)
    assert result.message
    assert "/" not in result.message
    assert "\n" not in result.message


def test_a_failure_in_the_backward_pass_names_no_forward_node() -> None:
    assert sentence(RuntimeError("[enforce fail at alloc_cpu.cpp:127] . oops")) == "oops"
    text = "bad thing at /usr/lib/python3/site-packages/torch/x.py:12. Exception raised from f"
    assert "/usr" not in sentence(RuntimeError(text))
    assert sentence(ValueError("")) == "ValueError"
    assert len(sentence(ValueError("x" * 5000))) == 1000


def test_a_need_far_beyond_what_is_free_is_told_without_a_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available", lambda _: 1000)
    events = probe(graphs.mlp())
    result = events.result
    assert result.status == Result.STATUS_OUT_OF_MEMORY
    assert result.available_bytes == 1000
    assert result.estimated_bytes > 2000
    assert "KiB" in result.message
    assert "step" not in events.kinds


def test_memory_that_runs_out_is_told_with_the_node_and_the_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    b = graphs.Builder()
    w = b.parameter(4, values=[1.0] * 4)
    y = b.call("aten.mul.Tensor", w, 2.0, shape=(4,))
    grown = b.call("aten.expand.default", y, [1 << 29, 4], shape=(1 << 29, 4))
    grown = b.call("aten.exp.default", grown, shape=(1 << 29, 4))
    grown = b.call("aten.exp.default", grown, shape=(1 << 29, 4))
    built = b.build(b.call("aten.sum.default", grown, shape=()))
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(memory, "available", lambda _: 0)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, limits[1]))
        result = probe(built, limits={"elements": 1 << 40}).result
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
    assert (result.status, result.node) == (Result.STATUS_OUT_OF_MEMORY, 2)
    assert result.estimated_bytes > 2 << 33


def test_deterministic_algorithms_are_asked_for_and_put_back() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    assert probe(graphs.convnet(), deterministic=True).result.status == Result.STATUS_COMPLETED
    assert torch.are_deterministic_algorithms_enabled() == before


@pytest.mark.parametrize("precision", [1, 2, 3])
@pytest.mark.parametrize("built", [graphs.mlp(), graphs.convnet(), graphs.sigmoid_net()])
def test_every_precision_of_the_cpu_runs(built: graphs.Built, precision: int) -> None:
    events = probe(built, precision=precision, samples=32)
    assert events.result.status == Result.STATUS_COMPLETED
    assert not events.result.non_finite
    wide = probe(built, samples=32)
    assert events.steps[0].loss == pytest.approx(wide.steps[0].loss, rel=0.02)


def test_the_estimate_follows_the_shapes() -> None:
    def estimate(batch: int, precision: int = 1) -> shapes.Estimate:
        return shapes.check(
            graphs.mlp(batch=batch, width=256).graph,
            limits=graphs.limits(),
            precision=precision,
            device=CPU,
        )

    small, large = estimate(8), estimate(800)
    assert small.trained == large.trained == 4 * (12 * 256 + 256 + 256 * 256 + 256 + 4 * 256 + 4)
    assert large.saved > 50 * small.saved
    # Two results of ReLU, and what dropout and the loss keep, at least.
    assert large.saved >= 2 * 4 * 800 * 256
    assert estimate(800, Settings.PRECISION_BFLOAT16).trained == large.trained // 2


def test_damaged_graphs_never_raise_and_always_end_in_a_refusal_or_a_result() -> None:
    chance = random.Random(3)  # noqa: S311 - repeatable
    built = [graphs.mlp(), graphs.convnet(), graphs.sigmoid_net(depth=2)]
    ends: dict[str, int] = {}
    for _ in range(300):
        original = chance.choice(built)
        graph = graph_pb2.Graph.FromString(original.serialised)
        for _ in range(chance.randint(1, 2)):
            mutate(graph, chance)
        events = probe(graphs.Built(graph, original.blobs), steps=1, limits={"elements": 1 << 20})
        ends[events.kinds[-1]] = ends.get(events.kinds[-1], 0) + 1
    assert set(ends) == {"refusal", "result"}
    assert ends["refusal"] > 50


def mutate(graph: graph_pb2.Graph, chance: random.Random) -> None:
    """Change one argument, reference, output or tensor to something else that parses."""
    node = chance.choice(graph.nodes)
    kind = chance.randrange(6)
    if kind == 0 and node.arguments:
        argument = chance.choice(node.arguments)
        value = chance.choice([0, 1, -1, 2**40, -(2**63), 7, 2**31])
        argument.integer = value
    elif kind == 1 and node.arguments:
        chance.choice(node.arguments).reference.tensor = chance.randrange(len(graph.tensors))
    elif kind == 2 and node.arguments:
        chance.choice(node.arguments).real = struct.unpack("d", chance.randbytes(8))[0]
    elif kind == 3:
        node.operator = chance.randrange(len(graph.operators))
    elif kind == 4:
        items = node.arguments.add().list.items
        for _ in range(chance.randint(0, 3)):
            items.add().integer = chance.choice([0, -1, 3, 2**62])
    else:
        tensor = chance.choice(graph.tensors)
        tensor.requires_grad = not tensor.requires_grad


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings_are_run_though_kernels_differ_in_what_they_keep(mode: str) -> None:
    text = f"""
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(50, 8, mode="{mode}")
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.bag(x))


def train(x, labels):
    net = Net()
    F.cross_entropy(net(x), labels).backward()
"""
    measured = probing.replay(probing.capture_text(text))
    assert len(measured.losses) == 3
    assert all(parameter.gradient_rms[0] for parameter in measured.parameters)


def test_a_view_of_attention_is_run_wherever_its_result_lies_otherwise() -> None:
    text = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(64, 192)
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (each.view(b, t, 4, 16).transpose(1, 2) for each in self.qkv(x).split(64, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(y.transpose(1, 2).contiguous().view(b, t, c).mean(1))


def train(x, labels):
    net = Net()
    F.cross_entropy(net(x), labels).backward()
"""
    measured = probing.replay(probing.capture_text(text))
    assert len(measured.losses) == 3
