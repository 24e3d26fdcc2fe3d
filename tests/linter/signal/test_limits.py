"""What cannot be followed is unknown, and so is what depends on it; nothing is guessed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from predicting import predicted

from nnlint.linter.operators import activation
from nnlint.linter.operators.base import Family, table
from nnlint.linter.operators.normalisation import LOCAL_RESPONSE_NORM
from nnlint.linter.signal.base import followers


class Sorted(nn.Module):
    """A sort in the middle, which no function of the table follows."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.after(torch.sort(self.before(x)).values)


def test_what_lies_before_an_unknown_operation_is_unknown() -> None:
    model = Sorted()
    signal = predicted(model, (4, 8))
    assert signal.unfollowed
    assert signal.gradient_rms(model.before.weight) is None


def test_what_lies_behind_an_unknown_loss_is_unknown() -> None:
    model = nn.Linear(8, 4)
    signal = predicted(model, (4, 8), loss="multi_margin_loss")
    assert not signal.loss
    assert signal.gradient_rms(model.weight) is None


def test_without_a_loss_the_gradient_starts_at_the_output() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    signal = predicted(model, (4, 8), loss="")
    assert not signal.loss
    assert signal.gradient_rms(model[0].weight)


def test_dropout_that_is_off_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.0), nn.Linear(8, 4))
    plain = nn.Sequential(model[0], model[2])
    dropped = predicted(model, (4, 8)).gradient_rms(model[0].weight)
    assert dropped == predicted(plain, (4, 8)).gradient_rms(model[0].weight)


def test_dead_units_get_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    nn.init.constant_(model[0].bias, -100.0)
    signal = predicted(model, (4, 8))
    assert signal.gradient_rms(model[0].weight) == pytest.approx(0.0, abs=1e-30)


@pytest.mark.filterwarnings("ignore:overflow")
def test_overflow_is_no_crash() -> None:
    model = nn.Sequential(*[m for _ in range(30) for m in (nn.Linear(64, 64), nn.ReLU())])
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.weight, 1e18)
    signal = predicted(model, (4, 64))
    assert signal.values


@pytest.mark.parametrize(
    "family", [Family.ACTIVATION, Family.NORM, Family.POOL, Family.DROPOUT, Family.PASS]
)
def test_operators_of_usual_families_are_followed(family: Family) -> None:
    unknown = {
        activation.GLU,
        activation.THRESHOLD,
        LOCAL_RESPONSE_NORM,
        *(table().by_name[name] for name in ("lp_pool", "max_unpool", "grid_sample", "checkpoint")),
    }
    wanted = [op for op in table().by_name.values() if op.family is family and op not in unknown]
    assert not [op.name for op in wanted if op not in followers()]


def test_time_grows_with_the_number_of_nodes() -> None:
    def seconds(depth: int) -> float:
        layers = [m for _ in range(depth) for m in (nn.Linear(16, 16), nn.Tanh())]
        model = nn.Sequential(*layers)
        predicted(model, (4, 16))
        started = time.process_time()
        predicted(model, (4, 16))
        return time.process_time() - started

    assert seconds(160) < 12 * seconds(40)
