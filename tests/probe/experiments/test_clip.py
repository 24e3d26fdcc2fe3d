from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nnlint.probe_service import asking
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.experiments.kinds import found
from tests.probe.probing import LIMITS, replay
from tests.probe.replay.running import load, step

SGD = pb.Optimizer(learning_rate=0.5)


def _settings(**changes: Any) -> pb.ClipExperiment:
    return pb.ClipExperiment(**{"steps": 4, "max_norm": 0.1, "optimizer": SGD, **changes})


def _by_hand(built: graphs.Built, max_norm: float | None) -> tuple[list[float], list[float]]:
    program = load(built)
    optimizer = torch.optim.SGD(program.trained(), 0.5)
    losses, norms = [], []
    for number in range(4):
        losses.append(float(step(program, number)))
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in program.trained())))
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(program.trained(), max_norm)
        optimizer.step()
    return losses, norms


@pytest.mark.parametrize("built", [graphs.mlp(), graphs.convnet()], ids=["mlp", "convnet"])
def test_steps_are_those_of_a_training_loop_without_and_with_clipping(built: graphs.Built) -> None:
    result = found(built, "clip", _settings())
    losses, norms = _by_hand(built, None)
    assert list(result.losses) == losses
    assert list(result.norms) == pytest.approx(norms, rel=1e-5)
    losses, norms = _by_hand(built, 0.1)
    assert list(result.clipped_losses) == losses
    assert list(result.clipped_norms) == pytest.approx(norms, rel=1e-5)
    assert result.clipped_losses[0] == result.losses[0]
    assert result.clipped_losses[1] != result.losses[1]


def test_a_norm_that_nothing_reaches_changes_nothing() -> None:
    result = found(graphs.mlp(), "clip", _settings(max_norm=1e9))
    assert result.losses == result.clipped_losses
    assert result.norms == result.clipped_norms


def test_adamw_has_its_own_state_in_each_of_the_two() -> None:
    adamw = pb.Optimizer(
        learning_rate=0.01, adamw=pb.Optimizer.AdamW(beta1=0.9, beta2=0.999, epsilon=1e-8)
    )
    result = found(graphs.mlp(), "clip", _settings(max_norm=1e9, optimizer=adamw))
    assert result.losses == result.clipped_losses


def test_steps_end_where_a_loss_is_not_finite() -> None:
    built = graphs.mlp()
    huge = pb.Optimizer(learning_rate=1e30)
    result = found(built, "clip", _settings(steps=8, optimizer=huge))
    assert len(result.losses) == len(result.norms) < 8
    assert not (math.isfinite(result.losses[-1]) and math.isfinite(result.norms[-1]))


def test_a_graph_without_a_gradient_has_norms_of_zero() -> None:
    b = graphs.Builder()
    b.parameter(3)
    result = found(b.build(b.call("aten.mean.default", b.input(8, 4))), "clip", _settings())
    assert list(result.norms) == [0.0] * 4


class Exploding(torch.nn.Module):
    """A regression whose features are large enough for the usual rate to be too large."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(8, 1)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(x * self.scale)
        return out


def _clipped(scale: float) -> Any:
    torch.manual_seed(0)
    options = ProbeOptions(experiments=("clip",), clip_steps=12)
    data = torch.randn(16, 8)
    batch = (data, data.sum(1, keepdim=True))
    return replay(
        capture_live(Exploding(scale), batch, "mse_loss", options), options
    ).experiments.clip


def test_what_explodes_is_held_by_clipping() -> None:
    found = _clipped(30.0)
    assert found.max_norm == 4.0
    assert found.losses[-1] > 100 * found.losses[0]
    assert found.clipped_losses[-1] < found.clipped_losses[0]


def test_sound_steps_are_the_same_either_way() -> None:
    found = _clipped(0.1)
    assert max(found.norms) < 4
    assert found.losses == found.clipped_losses


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": 0}, "e.steps"),
        ({"steps": 100_000}, "e.steps"),
        ({"max_norm": 0.0}, "e.max_norm"),
        ({"max_norm": -1.0}, "e.max_norm"),
        ({"max_norm": math.nan}, "e.max_norm"),
        ({"max_norm": math.inf}, "e.max_norm"),
        ({"optimizer": pb.Optimizer(learning_rate=math.inf)}, "e.optimizer.learning_rate"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], field: str) -> None:
    module = asking.find("clip")
    assert module is not None
    assert not list(module.check("e", _settings(), LIMITS))
    assert [each.field for each in module.check("e", _settings(**changes), LIMITS)] == [field]
