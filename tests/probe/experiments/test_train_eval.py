from __future__ import annotations

import copy
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nnlint.linter.experiments import TrainEval
from nnlint.probe_service import asking, experiments
from nnlint.probe_service.asking.train_eval import PASSES
from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.client.request import ask
from nnlint.probe_service.options import ProbeOptions
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.shapes import Estimate
from nnlint.probe_service.replay.violations import InvalidGraphError
from nnlint.protos.v1 import graph_pb2, probe_service_pb2
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS, capture_text, replay
from tests.probe.replay.running import load

OPTIONS = ProbeOptions(experiments=("train_eval",))


def _captured(init: str, forward: str, extra: str = "") -> Capture:
    text = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\n"
    text += "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    text += textwrap.indent(textwrap.dedent(init).strip(), " " * 8)
    text += "\n\n    def forward(self, x):\n"
    text += textwrap.indent(textwrap.dedent(forward).strip(), " " * 8)
    text += extra + "\n\ndef train(x, y):\n    F.cross_entropy(Net()(x), y).backward()\n"
    return capture_text(text, options=OPTIONS)


def _losses(init: str, forward: str) -> TrainEval:
    told = replay(_captured(init, forward), OPTIONS).experiments
    assert told.train_eval is not None, told.skipped
    return told.train_eval


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


LAYERS = "self.a, self.b = nn.Linear(6, 32), nn.Linear(32, 5)"
NORMED = "self.a, self.norm, self.b = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8{}), nn.Linear(8, 5)"
NORMED_FORWARD = "return self.b(F.relu(self.norm(self.a(x))).mean((2, 3)))"


def test_dropout_is_random_in_training_and_not_in_evaluation() -> None:
    losses = _losses(LAYERS + "\nself.drop = nn.Dropout()", "return self.b(self.drop(self.a(x)))")
    assert len(set(losses.train_losses)) == 4
    assert len(losses.eval_losses) == 4
    assert len(set(losses.eval_losses)) == 1


def test_dropout_that_is_always_on_is_random_in_evaluation_too() -> None:
    losses = _losses(LAYERS, "return self.b(F.dropout(self.a(x)))")
    assert len(set(losses.eval_losses)) == 4


def test_settled_statistics_bring_both_modes_together() -> None:
    losses = _losses(NORMED.format(""), NORMED_FORWARD)
    assert len(set(losses.train_losses)) == len(set(losses.eval_losses)) == 1
    assert losses.eval_losses[0] == pytest.approx(losses.train_losses[0], rel=0.02)


def test_statistics_that_hardly_move_keep_them_apart() -> None:
    init = NORMED.format(", momentum=1e-5") + "\nnn.init.constant_(self.a.weight, 0.5)"
    init += "\nnn.init.constant_(self.a.bias, 30.0)\nnn.init.normal_(self.b.weight)"
    losses = _losses(init, NORMED_FORWARD)
    assert _mean(losses.eval_losses) > 1.5 * _mean(losses.train_losses)


def test_a_branch_on_the_mode_that_changes_the_scale_keeps_them_apart() -> None:
    losses = _losses(
        LAYERS + "\nnn.init.normal_(self.b.weight)",
        "h = self.b(self.a(x))\nreturn h if self.training else h * 20",
    )
    assert _mean(losses.eval_losses) > 1.5 * _mean(losses.train_losses)


def test_without_statistics_nothing_has_to_settle() -> None:
    def passes(init: str, forward: str) -> int:
        (experiment,) = ask(_captured(init, forward), OPTIONS, LIMITS).experiments
        return experiment.train_eval.passes

    assert passes(LAYERS, "return self.b(self.a(x))") == 0
    assert passes(NORMED.format(""), NORMED_FORWARD) == PASSES


def test_the_second_graph_shares_its_blobs_and_knows_its_tensors() -> None:
    captured = _captured(NORMED.format(""), NORMED_FORWARD)
    assert captured.evaluation is not None
    first = graph_pb2.Graph.FromString(captured.graph)
    second = graph_pb2.Graph.FromString(captured.evaluation.graph)
    assert len(captured.evaluation.tensors) == len(second.tensors)
    for tensor, position in zip(second.tensors, captured.evaluation.tensors, strict=True):
        assert position >= 0
        assert tensor.digest == first.tensors[position].digest
        assert tensor.shape == first.tensors[position].shape
    # Convolution, batch norm and linear layer, weight and bias each; two running statistics.
    state = {p for p in captured.evaluation.tensors if first.tensors[p].HasField("digest")}
    assert len(state) == 8
    assert set(captured.blobs) == {t.digest.sha256 for t in first.tensors if t.HasField("digest")}


def test_tied_parameters_and_constants_find_their_place() -> None:
    captured = _captured(
        """
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight
        """,
        "return self.b(F.relu(self.a(x))) * torch.tensor(2.0)",
    )
    assert captured.evaluation is not None
    assert sorted(captured.evaluation.tensors) == list(range(len(captured.tensors)))


def test_a_capture_survives_its_folder(tmp_path: Path) -> None:
    captured = _captured(LAYERS, "return self.b(self.a(x))")
    captured.write(tmp_path)
    assert Capture.read(tmp_path).evaluation == captured.evaluation


def test_only_what_is_asked_for_is_captured() -> None:
    assert capture_text("from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.a = nn.Linear(2, 3)\n"
        "    def forward(self, x):\n        return self.a(x)\n").evaluation is None  # fmt: skip


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        ("h = self.b(self.a(x))\nreturn h if self.training else h.argmax(1)", "raises"),
        (
            "h = self.b(self.a(x))\nif not self.training and h.sum() > 0:\n    h = h + 1\nreturn h",
            "only known when it runs",
        ),
        ("if not self.training:\n    raise ValueError('no')\nreturn self.b(self.a(x))", "no"),
    ],
)
def test_a_model_that_is_another_in_evaluation_is_told_with_the_reason(
    forward: str, reason: str
) -> None:
    options = ProbeOptions(experiments=("train_eval", "input"))
    captured = _captured(LAYERS, forward)
    if captured.evaluation is not None and captured.evaluation.graph:
        pytest.fail("captured after all")
    told = replay(captured, options).experiments
    assert told.train_eval is None
    assert told.skipped["train-eval"].startswith("in evaluation mode ")
    assert reason in told.skipped["train-eval"]


class Merging(nn.Module):
    """Writes into its weight when the mode changes, as adapters do that are merged."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.delta = nn.Parameter(torch.randn(4, 6))

    def train(self, mode: bool = True) -> Merging:
        if mode != self.training:
            self.weight.data += -self.delta.data if mode else self.delta.data
        super().train(mode)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight + self.delta if self.training else self.weight
        return x @ weight.t()


def test_the_live_model_is_not_rewritten_by_a_change_of_mode() -> None:
    torch.manual_seed(0)
    model = Merging()
    before = copy.deepcopy(model.state_dict())
    data = torch.randn(8, 6), torch.randint(4, (8,))
    captured = capture_live(model, data, "cross_entropy", OPTIONS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    losses = replay(captured, OPTIONS).experiments.train_eval
    assert losses is not None
    # The weight in evaluation mode is a tensor of its own, which training must not overwrite.
    assert losses.eval_losses == pytest.approx(losses.train_losses, rel=1e-5)


def _settings(built: graphs.Built, **changes: Any) -> probe_service_pb2.TrainEvalExperiment:
    values = {
        "graph": graphs.digest_of(built.serialised),
        "tensors": range(len(built.graph.tensors)),
        "passes": 2,
    }
    return probe_service_pb2.TrainEvalExperiment(**{**values, **changes})


def _run(built: graphs.Built, settings: Any, other: graphs.Built | None = None) -> Any:
    second = other or built

    def opened(digest: graph_pb2.Digest) -> Program:
        assert digest == settings.graph
        return load(second)

    return found(built, "train_eval", settings, other=opened)


def test_the_same_graph_twice_gives_the_same_losses() -> None:
    built = graphs.mlp()
    result = _run(built, _settings(built))
    assert list(result.train_losses) == list(result.eval_losses)
    assert len(set(result.train_losses)) == 4


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ([0, 1], "2 positions"),
        ([0, 1 << 30], "no tensor"),
        ([0, 0], "another kind"),
        ([-1, 1], "same inputs"),
    ],
)
def test_positions_that_do_not_fit_are_refused(tensors: list[int], text: str) -> None:
    built = graphs.mlp()
    count = len(built.graph.tensors)
    given = [*tensors, *range(2, count)] if "positions" not in text else tensors
    with pytest.raises(InvalidGraphError, match=text):
        _run(built, _settings(built, tensors=given))


def test_another_graph_with_other_inputs_is_refused() -> None:
    built, other = graphs.mlp(), graphs.mlp(features=13)
    with pytest.raises(InvalidGraphError, match=r"same inputs|another kind"):
        _run(built, _settings(built), other)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"passes": LIMITS.steps + 1}, "x.passes"),
        ({"tensors": [-2]}, "x.tensors"),
        ({"graph": graph_pb2.Digest(sha256=b"short", size_bytes=3)}, "x.graph.sha256"),
        (
            {"graph": graph_pb2.Digest(sha256=bytes(32), size_bytes=1 << 60)},
            "x.graph.size_bytes",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], field: str) -> None:
    module = asking.find("train_eval")
    assert module is not None
    settings = _settings(graphs.mlp(), **changes)
    assert [v.field for v in module.check("x", settings, LIMITS)] == [field]


def test_the_estimate_counts_a_second_program() -> None:
    estimate = Estimate(state=100, trained=40, forward=3, saved=2, largest=1, host=7)
    module = experiments.find("train_eval")
    assert module is not None
    one = [module.needs(_settings(graphs.mlp()))]
    assert estimate.total(one) - estimate.total([]) == 107
    assert estimate.total([*one, experiments.Needs(copies=3)]) - estimate.total([]) == 120
