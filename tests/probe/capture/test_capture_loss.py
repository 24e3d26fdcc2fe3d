"""Which loss a step has, and which labels are drawn for it."""

from __future__ import annotations

import importlib.util
import itertools
import linecache
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from google.protobuf import text_format
from torch import nn

from nnlint.errors import CaptureError, UsageError
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.live import capture_live
from nnlint.protos.v1 import graph_pb2

Captured = tuple[Capture, graph_pb2.Graph]
_NUMBER = itertools.count()


@pytest.fixture
def capture(tmp_path: Path) -> Callable[..., Captured]:
    """Capture the class Net of a source text."""

    def run(text: str, *args: Any) -> Captured:
        header = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
        path = tmp_path / f"net{next(_NUMBER)}.py"
        path.write_text(header + textwrap.dedent(text))
        linecache.checkcache(str(path))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        captured = capture_live(module.Net(), *args)
        return captured, graph_pb2.Graph.FromString(captured.graph)

    return run


NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        return self.linear(x)
"""


def targets(graph: graph_pb2.Graph) -> list[graph_pb2.Tensor]:
    return [t for t in graph.tensors if t.role == graph_pb2.Tensor.ROLE_TARGET]


def ending(graph: graph_pb2.Graph, captured: Capture) -> list[str]:
    return [graph.operators[graph.nodes[i].operator] for i in sorted(captured.loss_nodes)]


def test_the_loss_of_the_training_code_is_rebuilt_with_its_literal_options(
    capture: Callable[..., Captured],
) -> None:
    captured, graph = capture(
        NET
        + """
def train(batches):
    model = Net()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    for x, y in batches:
        criterion(model(x), y).backward()
"""
    )
    assert captured.loss.startswith("cross_entropy at ")
    assert captured.loss.endswith(":17")
    assert captured.loss_source == "found"
    (node,) = (graph.nodes[i] for i in captured.loss_nodes)
    assert node.arguments[-1].real == pytest.approx(0.1)
    assert captured.nodes[min(captured.loss_nodes)].location.line == 17


def test_the_losses_of_one_call_are_added_and_those_of_evaluation_are_not(
    capture: Callable[..., Captured],
) -> None:
    captured, graph = capture(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes, self.box = nn.Linear(6, 4), nn.Linear(6, 2)

    def forward(self, x):
        return {"classes": self.classes(x), "box": self.box(x)}

def train(batches):
    model = Net()
    for x, y, box in batches:
        out = model(x)
        loss = F.cross_entropy(out["classes"], y) + F.smooth_l1_loss(out["box"], box)
        loss.backward()

def evaluate(model: Net, x, y):
    model.eval()
    with torch.no_grad():
        return F.mse_loss(model(x)["box"], y)
"""
    )
    assert captured.loss.count(" at ") == 2
    assert [list(t.shape) for t in targets(graph)] == [[16], [16, 2]]
    assert "aten.add.Tensor" in ending(graph, captured)
    assert "aten.mse_loss.default" not in graph.operators


def test_steps_between_output_and_loss_are_followed(capture: Callable[..., Captured]) -> None:
    captured, graph = capture(
        NET
        + """
def train(batches, classes):
    model = Net()
    for x, y in batches:
        scores = F.log_softmax(model(x).view(-1, classes), dim=1)
        F.nll_loss(scores, y).backward()
"""
    )
    names = ending(graph, captured)
    assert names[-2:] == ["aten.log_softmax.int", "aten.nll_loss_nd.default"]
    assert captured.notes == ()


def test_options_known_only_at_run_time_are_left_out_with_a_note(
    capture: Callable[..., Captured],
) -> None:
    captured, _ = capture(
        NET
        + """
def train(batches, weights):
    model = Net()
    criterion = nn.CrossEntropyLoss(weight=weights)
    for x, y in batches:
        criterion(model(x), y).backward()
"""
    )
    (note,) = captured.notes
    assert note.startswith("weight of cross_entropy at line 17 is known only at run time")


def test_without_a_loss_a_stand_in_is_differentiated_and_said_to_be_one(
    capture: Callable[..., Captured],
) -> None:
    captured, graph = capture(NET)
    assert captured.loss_source == "stand-in"
    assert captured.loss == "mse_loss against random numbers"
    assert targets(graph)[0].draw.HasField("normal")
    assert any("no loss was found" in note for note in captured.notes)


def test_a_loss_that_cannot_be_drawn_for_gives_the_stand_in_and_its_reason(
    capture: Callable[..., Captured],
) -> None:
    captured, _ = capture(
        NET
        + """
def train(batches):
    model = Net()
    criterion = nn.CTCLoss()
    for x, y, a, b in batches:
        criterion(model(x), y, a, b).backward()
"""
    )
    assert captured.loss_source == "stand-in"
    assert "labels for ctc_loss cannot be drawn" in captured.notes


@pytest.mark.parametrize(
    ("output", "outputs"),
    [
        ("F.mse_loss(y, x)", 0),
        ("(F.mse_loss(y, x), y)", 1),
        ("(y, F.mse_loss(y, x).reshape(1))", 1),
        ("{'loss': F.mse_loss(y, x), 'y': y}", 1),
        ("{'reconstruction': F.mse_loss(y, x), 'size': y.square().mean()}", 0),
    ],
)
def test_a_loss_that_forward_returns_is_taken(
    output: str, outputs: int, capture: Callable[..., Captured]
) -> None:
    captured, graph = capture(
        f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        y = self.linear(x)
        return {output}
"""
    )
    assert captured.loss_source == "forward"
    assert len(graph.outputs) == outputs
    assert not targets(graph)
    assert "aten.mse_loss.default" in ending(graph, captured)
    assert "aten.linear.default" not in ending(graph, captured)


DRAWN = {
    "cross_entropy": "integers { high: 4 }",
    "nll_loss": "integers { high: 4 }",
    "multi_margin_loss": "integers { high: 4 }",
    "multilabel_margin_loss": "integers { low: -1 high: 4 }",
    "multilabel_soft_margin_loss": "binary { high: 1 probability: 0.5 }",
    "binary_cross_entropy": "binary { high: 1 probability: 0.5 }",
    "bce_with_logits": "binary { high: 1 probability: 0.5 }",
    "soft_margin_loss": "binary { low: -1 high: 1 probability: 0.5 }",
    "hinge_embedding_loss": "binary { low: -1 high: 1 probability: 0.5 }",
    "mse_loss": "normal { standard_deviation: 1 }",
    "l1_loss": "normal { standard_deviation: 1 }",
    "smooth_l1_loss": "normal { standard_deviation: 1 }",
    "huber_loss": "normal { standard_deviation: 1 }",
    "kl_div": "simplex { dimension: 1 }",
    "poisson_nll_loss": "integers { high: 5 }",
    "gaussian_nll_loss": "normal { standard_deviation: 1 }",
    "triplet_margin_loss": "normal { standard_deviation: 1 }",
    "cosine_embedding_loss": "normal { standard_deviation: 1 }",
    "margin_ranking_loss": "normal { standard_deviation: 1 }",
}
CLASSES = {
    "multilabel_soft_margin_loss": nn.MultiLabelSoftMarginLoss,
    "kl_div": lambda: nn.KLDivLoss(reduction="batchmean", log_target=True),
    "cross_entropy": nn.CrossEntropyLoss,
    "gaussian_nll_loss": nn.GaussianNLLLoss,
}


@pytest.mark.parametrize("name", DRAWN)
def test_labels_are_drawn_for_each_loss(name: str) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Sigmoid())
    captured = capture_live(model, None, name)
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert captured.loss_source == "given"
    assert captured.parity.bit_equal
    drawn = graph_pb2.Draw()
    text_format.Parse(DRAWN[name], drawn)
    assert targets(graph)[0].draw == drawn


@pytest.mark.parametrize("name", CLASSES)
def test_a_loss_module_is_taken_with_its_options(name: str) -> None:
    captured = capture_live(nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), None, CLASSES[name]())
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert captured.loss == name
    assert captured.parity.bit_equal
    if name == "kl_div":
        assert targets(graph)[0].draw.simplex.logarithmic


def test_a_function_of_ones_own_takes_the_labels_of_the_batch() -> None:
    def loss(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return (output - wanted).abs().mean()

    model = nn.Linear(3, 2)
    captured = capture_live(model, (torch.randn(4, 3), torch.randn(4, 2)), loss)
    assert captured.loss == "loss"
    assert captured.data == "user"
    with pytest.raises(CaptureError, match="labels for loss cannot be drawn"):
        capture_live(model, torch.randn(4, 3), loss)


def test_a_loss_without_reduction_is_averaged() -> None:
    captured = capture_live(nn.Linear(3, 2), None, nn.MSELoss(reduction="none"))
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert ending(graph, captured)[-1] == "aten.mean.default"


def test_labels_that_do_not_fit_the_loss_are_an_error_that_says_so() -> None:
    with pytest.raises(CaptureError, match="cross_entropy raises IndexError: Target 9 is out"):
        capture_live(nn.Linear(3, 2), (torch.randn(2, 3), torch.tensor([0, 9])), "cross_entropy")


def test_a_loss_that_depends_on_no_parameter_is_refused() -> None:
    def loss(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return (output.detach() - wanted).square().mean()

    with pytest.raises(CaptureError, match="depends on no parameter"):
        capture_live(nn.Linear(3, 2), (torch.randn(4, 3), torch.randn(4, 2)), loss)


@pytest.mark.parametrize("loss", ["nonsense", "relu", 3])
def test_what_is_no_loss_is_a_usage_error(loss: Any) -> None:
    with pytest.raises(UsageError):
        capture_live(nn.Linear(3, 2), None, loss)


def test_functional_losses_are_known_by_identity() -> None:
    captured = capture_live(nn.Linear(3, 2), None, F.cross_entropy)
    assert captured.loss == "cross_entropy"
