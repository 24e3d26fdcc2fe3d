from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnlint.linter.load.initialised import Recorder
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service import asking
from nnlint.probe_service.capture.redrawing import redrawable
from nnlint.probe_service.options import ProbeOptions
from nnlint.probe_service.replay.violations import InvalidGraphError
from nnlint.protos.v1 import probe_service_pb2
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS, capture_text, replay
from tests.probe.replay.running import load, step


def _weights(built: graphs.Built) -> list[int]:
    return [i for i, t in enumerate(built.graph.tensors) if t.requires_grad and len(t.shape) > 1]


def _settings(shuffled: list[int], seeds: int = 3) -> probe_service_pb2.SeedsExperiment:
    return probe_service_pb2.SeedsExperiment(seeds=seeds, shuffled=shuffled)


def test_the_first_initialisation_is_the_one_that_was_captured() -> None:
    built = graphs.mlp()
    program = load(built)
    loss = float(step(program))
    rms = [float(p.grad.double().square().mean().sqrt()) for p in program.trained()]  # type: ignore[union-attr]
    result = found(built, "seeds", _settings(_weights(built)))
    first, *others = result.initialisations
    assert first.loss == pytest.approx(loss, abs=0)
    assert list(first.parameter_gradient_rms) == pytest.approx(rms, rel=1e-6)
    assert len(others) == 3
    assert len({each.loss for each in result.initialisations}) == 4


def test_another_initialisation_has_the_same_elements_in_another_order() -> None:
    built = graphs.mlp()
    program = load(built)
    seen: list[list[torch.Tensor]] = []
    forward = program.forward

    def watched(**options: Any) -> torch.Tensor:
        seen.append([tensor.detach().clone() for tensor in program.trained()])
        return forward(**options)

    program.forward = watched  # type: ignore[method-assign]
    shuffled = _weights(built)
    found(built, "seeds", _settings(shuffled, seeds=1), program=program)
    captured, other = seen
    for position, before, after in zip(program.parameters, captured, other, strict=True):
        assert torch.equal(before.flatten().sort()[0], after.flatten().sort()[0])
        assert torch.equal(before, after) == (position not in shuffled)


def test_every_server_draws_the_same() -> None:
    built = graphs.convnet()
    settings = _settings(_weights(built))
    assert found(built, "seeds", settings) == found(built, "seeds", settings)


def test_gradients_that_depend_on_the_draw_are_spread_and_others_are_not() -> None:
    def spread(scale: float, classes: int) -> float:
        b = graphs.Builder(batch_size=16)
        x = b.input(16, 8)
        for _ in range(6):
            x = b.linear(x, 16, 8, 8, scale=scale)
            x = b.call("aten.relu.default", x, shape=(16, 8))
        x = b.linear(x, 16, 8, classes)
        built = b.build(b.cross_entropy(x, b.labels(classes, 16)))
        result = found(built, "seeds", _settings(_weights(built), seeds=6))
        first = [each.parameter_gradient_rms[0] for each in result.initialisations]
        return max(first) / max(min(first), 1e-30)

    # Eight units wide and six layers deep, what arrives hangs on a few weights; and much less
    # where one layer alone is between the loss and what is looked at.
    built = graphs.mlp(batch=64, width=64, depth=1)
    result = found(built, "seeds", _settings(_weights(built), seeds=6))
    last = [each.parameter_gradient_rms[-1] for each in result.initialisations]
    assert max(last) / min(last) < 3 < spread(1.0, 4)


def test_a_parameter_without_a_gradient_is_told_as_such() -> None:
    b = graphs.Builder(batch_size=4)
    b.parameter(3, 3)
    built = b.build(b.cross_entropy(b.linear(b.input(4, 5), 4, 5, 3), b.labels(3, 4)))
    result = found(built, "seeds", _settings([0], seeds=1))
    assert [each.parameter_gradient_rms[0] for each in result.initialisations] == [-1, -1]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (_settings([0, 1], seeds=0), "x.seeds"),
        (_settings([0, 1], seeds=LIMITS.steps), "x.seeds"),
        (_settings([]), "x.shuffled"),
        (_settings([3, 3]), "x.shuffled"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, field: str) -> None:
    module = asking.find("seeds")
    assert module is not None
    assert [v.field for v in module.check("x", settings, LIMITS)] == [field]


@pytest.mark.parametrize("position", [0, 1 << 31])
def test_a_position_that_is_no_parameter_is_refused(position: int) -> None:
    with pytest.raises(InvalidGraphError, match="no parameter"):
        found(graphs.mlp(), "seeds", _settings([position]))


def _recorded(make: Any) -> nn.Module:
    recorder = Recorder(UserCode(__file__, "", ""))
    with recorder:
        module: nn.Module = make()
    recorder.attach(module)
    return module


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drawn = nn.Parameter(torch.randn(3, 4))
        self.scaled = nn.Parameter(torch.empty(3, 4))
        self.constant = nn.Parameter(torch.zeros(3, 4))
        self.orthogonal = nn.Parameter(torch.empty(4, 4))
        self.computed = nn.Parameter(torch.linspace(0, 1, 6).reshape(2, 3) ** 2)
        self.identity = nn.Parameter(torch.empty(4, 4))
        nn.init.trunc_normal_(self.scaled)
        self.scaled.data.mul_(0.1)
        nn.init.orthogonal_(self.orthogonal)
        nn.init.eye_(self.identity)


def test_independent_draws_are_told_by_what_wrote_them() -> None:
    module = _recorded(Own)
    names = [name for name, _ in module.named_parameters() if redrawable(module, name)]
    assert names == ["drawn", "scaled"]


@pytest.mark.parametrize(
    ("make", "drawn"),
    [
        (lambda: nn.Linear(3, 4), ["weight", "bias"]),
        (lambda: nn.Conv2d(3, 4, 3), ["weight", "bias"]),
        (lambda: nn.Embedding(5, 4), ["weight"]),
        (lambda: nn.Embedding(5, 4, padding_idx=0), []),
        (lambda: nn.BatchNorm2d(4), []),
        (lambda: nn.LSTM(3, 4), ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]),
        (lambda: nn.MultiheadAttention(4, 2), ["in_proj_weight"]),
    ],
)
def test_the_defaults_of_torch_are_known(make: Any, drawn: list[str]) -> None:
    module = _recorded(make)
    own = [name for name, _ in module.named_parameters(recurse=False)]
    assert [name for name in own if redrawable(module, name)] == drawn


def test_of_a_live_module_weights_are_taken_and_vectors_are_left() -> None:
    module = nn.Linear(3, 4)
    assert redrawable(module, "weight")
    assert not redrawable(module, "bias")
    assert not redrawable(module, "other")


MODEL = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x, label):
        return F.cross_entropy(self.fc2(F.relu(self.fc1(x))), label)
"""


def test_gradients_are_told_for_each_measured_parameter() -> None:
    options = ProbeOptions(experiments=("seeds",), seeds=2)
    measured = replay(capture_text(MODEL, options=options), options)
    seeds = measured.experiments.seeds
    assert seeds is not None
    assert seeds.shuffled == 2
    assert len(seeds.initialisations) == 3
    for each in seeds.initialisations:
        assert len(each.gradient_rms) == len(measured.parameters) == 4
        assert all(value is not None and value > 0 for value in each.gradient_rms)


def test_without_a_random_parameter_the_model_cannot_be_asked() -> None:
    options = ProbeOptions(experiments=("input", "seeds"))
    text = MODEL.replace("nn.Linear(6, 8)", "nn.BatchNorm1d(6)").replace(
        "nn.Linear(8, 3)", "nn.LayerNorm(6)"
    )
    experiments = replay(capture_text(text, options=options), options).experiments
    assert experiments.seeds is None
    assert "drawn at random" in experiments.skipped["seeds"]
