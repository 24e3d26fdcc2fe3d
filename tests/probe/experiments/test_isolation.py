from __future__ import annotations

import textwrap
from typing import Any

import pytest
import torch
from torch import nn

from nnlint.linter.experiments import Isolation
from nnlint.linter.measured import Measured
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import probe_service_pb2
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import capture_text, replay

OPTIONS = ProbeOptions(experiments=("isolation",))


def _probed(init: str, forward: str) -> Measured:
    text = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\n"
    text += "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    text += textwrap.indent(textwrap.dedent(init).strip(), " " * 8)
    text += "\n\n    def forward(self, x):\n"
    text += textwrap.indent(textwrap.dedent(forward).strip(), " " * 8)
    text += "\n\ndef train(x, y):\n    F.cross_entropy(Net()(x), y).backward()\n"
    return replay(capture_text(text, options=OPTIONS), OPTIONS)


def _isolation(measured: Measured) -> Isolation:
    assert measured.experiments.isolation is not None, measured.experiments.skipped
    return measured.experiments.isolation


HEALTHY = {
    "mlp": (
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 5)",
        "return self.b(F.dropout(F.relu(self.a(x)), 0.5))",
    ),
    "convolutions with batch norm": (
        """
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.out = nn.Linear(8, 5)
        """,
        "return self.out(F.relu(self.norm(self.conv(x))).mean((2, 3)))",
    ),
    "recurrence, batch first": (
        "self.rnn, self.out = nn.LSTM(6, 9, batch_first=True), nn.Linear(9, 5)",
        "return self.out(self.rnn(x)[0][:, -1])",
    ),
    "attention, batch first": (
        """
        layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)
        self.embed, self.body = nn.Embedding(40, 12), nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(12, 5)
        """,
        "return self.out(self.body(self.embed(x)).mean(1))",
    ),
    "as many classes as samples": (
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 16)",
        "return self.b(F.relu(self.a(x)))",
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_sound_model_keeps_samples_apart(name: str) -> None:
    isolation = _isolation(_probed(*HEALTHY[name]))
    assert isolation == Isolation(compared=1)


# With the first operation that mixes.
MIXING = {
    "mean over the batch": (
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 5)",
        "h = self.a(x)\nh = h - h.mean(0)\nreturn self.b(F.relu(h))",
        {"aten.mean.dim"},
    ),
    "softmax over the batch": (
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 5)",
        "return self.b(F.softmax(self.a(x), 0))",
        {"aten.softmax.int"},
    ),
    "view that mixes": (
        "self.conv, self.b = nn.Conv1d(3, 4, 3, padding=1), nn.Linear(4, 5)",
        """
        h = self.conv(x)
        h = h.permute(1, 2, 0).reshape(x.shape[0], -1, 4)
        return self.b(F.relu(h).mean(1))
        """,
        {"aten.reshape.default", "aten.clone.default", "aten.view.default"},
    ),
    "attention over the batch": (
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 5)",
        "h = self.a(x)\nreturn self.b(F.softmax(h @ h.t(), -1) @ h)",
        {"aten.matmul.default", "aten.mm.default"},
    ),
    "one sample goes into the next": (
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 5)",
        "h = self.a(x)\nreturn self.b(F.relu(h + h.roll(1, 0)))",
        {"aten.roll.default", "aten.add.Tensor"},
    ),
    "normalisation by hand": (
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 5)",
        "return self.b(F.normalize(self.a(x), dim=0))",
        {"aten.linalg_vector_norm.default"},
    ),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_samples_is_found_with_the_operation(name: str) -> None:
    init, forward, operators = MIXING[name]
    measured = _probed(init, forward)
    isolation = _isolation(measured)
    assert isolation.compared == 1
    assert not isolation.batch_statistics
    (leak,) = isolation.leaks
    assert leak.change > 0.01
    assert leak.samples >= 1
    assert leak.node is not None
    assert measured.nodes[leak.node].operator in operators


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(6, 9), nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.rnn(x)[0])
        return found


def _live(model: nn.Module, batch: Any, loss: Any) -> Measured:
    captured = capture_live(model, batch, loss, OPTIONS)
    return replay(captured, OPTIONS)


def test_a_recurrent_layer_that_takes_samples_for_time_is_found_with_the_users_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    data, target = (torch.randn(8, 5, n, generator=generator) for n in (6, 4))
    (leak,) = _isolation(_live(Recurrent(), (data, target), "mse_loss")).leaks
    # The first sample is the past of all others.
    assert leak.samples == 7
    assert leak.node is not None


def test_targets_tell_that_the_users_batch_is_in_dimension_1() -> None:
    data, labels = torch.randn(8, 5, 6), torch.randint(4, (5,))
    measured = _live(
        Recurrent(), (data, labels), lambda y, t: nn.functional.cross_entropy(y[-1], t)
    )
    assert _isolation(measured) == Isolation(compared=1)


class Convolved(nn.Module):
    """A network on the nodes of a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(6, 9), nn.Linear(9, 4)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.a(x))
        h = h + torch.zeros_like(h).index_add(0, edges[1], h[edges[0]])
        found: torch.Tensor = self.out(h)
        return found


class Adjacent(Convolved):
    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(adjacency @ torch.relu(self.a(x)))
        return found


@pytest.mark.parametrize("model", [Convolved, Adjacent])
def test_nodes_of_a_graph_are_meant_to_see_each_other(model: type[nn.Module]) -> None:
    x, labels = torch.randn(12, 6), torch.randint(4, (12,))
    data: dict[str, Any] = {"x": x, "labels": labels}
    if model is Convolved:
        data["edges"] = torch.randint(12, (2, 30))
    else:
        data["adjacency"] = torch.rand(12, 12)
    assert _isolation(_live(model(), data, "cross_entropy")) == Isolation(compared=0)


def test_samples_that_are_permuted_at_random_are_meant_to_be_mixed() -> None:
    measured = _probed(
        "self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 5)",
        "h = self.a(x)\nreturn self.b(0.9 * h + 0.1 * h[torch.randperm(16)])",
    )
    assert _isolation(measured) == Isolation(compared=0)


def test_drawn_inputs_may_have_the_batch_in_dimension_1() -> None:
    measured = _probed(
        "self.rnn, self.out = nn.LSTM(6, 9), nn.Linear(9, 5)",
        "return self.out(self.rnn(x)[0]).transpose(1, 2)",
    )
    assert _isolation(measured).leaks == ()


class Scores(nn.Module):
    """A number for each sample, and one for all of them."""

    def __init__(self, center: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 1)
        self.center = center

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.fc(x).squeeze(1)
        return scores - scores.mean() if self.center else scores, x.sum()


@pytest.mark.parametrize("center", [False, True])
def test_a_single_number_for_each_sample_is_compared(center: bool) -> None:
    isolation = _isolation(
        replay(capture_live(Scores(center), torch.randn(7, 6), options=OPTIONS), OPTIONS)
    )
    assert isolation.compared == 1
    assert [leak.output for leak in isolation.leaks] == [0] * center


def test_similarities_of_samples_are_not_compared() -> None:
    measured = _probed(
        "self.a = nn.Linear(6, 20)", "h = F.normalize(self.a(x), dim=1)\nreturn h @ h.t()"
    )
    assert _isolation(measured) == Isolation(compared=0)


def test_batch_norm_without_running_statistics_is_told() -> None:
    measured = _probed(
        "self.a, self.norm = nn.Linear(6, 20), nn.BatchNorm1d(20, track_running_stats=False)",
        "return self.norm(self.a(x))",
    )
    isolation = _isolation(measured)
    assert isolation.batch_statistics
    (leak,) = isolation.leaks
    assert leak.node is not None
    assert measured.nodes[leak.node].operator == "aten.batch_norm.default"


@pytest.mark.parametrize("built", [graphs.mlp(batch=2), graphs.convnet(), graphs.sigmoid_net()])
def test_the_graph_is_left_as_it_was(built: graphs.Built) -> None:
    result = found(built, "isolation", probe_service_pb2.IsolationExperiment())
    assert (result.compared, list(result.leaks)) == (1, [])


def test_samples_that_are_all_alike_tell_nothing() -> None:
    b = graphs.Builder(batch_size=4)
    x = b.tensor(graphs.graph_pb2.Tensor.ROLE_INPUT, (4, 3), values=[1.0, 2.0, 3.0] * 4, batches=1)
    y = b.linear(x, 4, 3, 2)
    built = b.build(b.call("aten.mean.default", y, shape=()), y)
    assert found(built, "isolation", probe_service_pb2.IsolationExperiment()).compared == 0


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        ("return self.a(x).mean()", "forward returns no tensor beside the loss"),
        ("return self.a(x.mean(0))", "no output has a dimension of 16 samples"),
    ],
)
def test_a_model_without_samples_in_its_output_is_not_asked(forward: str, reason: str) -> None:
    options = ProbeOptions(experiments=("isolation", "input"))
    text = f"""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 4)

    def forward(self, x):
        {forward}
"""
    experiments = replay(capture_text(text, options=options), options).experiments
    assert experiments.skipped == {"isolation": reason}


def test_one_sample_has_no_other() -> None:
    options = ProbeOptions(experiments=("isolation", "input"), batch_size=1)
    text = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 4)

    def forward(self, x):
        return self.a(x)
"""
    experiments = replay(capture_text(text, options=options), options).experiments
    assert "isolation" in experiments.skipped
