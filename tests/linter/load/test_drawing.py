"""Large weights are drawn once and copied; small ones, and what they are made of, stay as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnlint.linter.load import drawing


@pytest.fixture(autouse=True)
def _small_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "BLOCK", 1009)


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda t: t.normal_(2.0, 0.5), 2.0, 0.5),
        (lambda t: t.uniform_(-3.0, 3.0), 0.0, 3**0.5),
        (lambda t: nn.init.trunc_normal_(t, std=0.02), 0.0, 0.02),
        (lambda t: nn.init.kaiming_uniform_(t, a=1.0), 0.0, 80**-0.5),
    ],
)
def test_copies_are_distributed_as_asked(fill, mean: float, std: float) -> None:
    weight = torch.empty(120, 80)
    with drawing.repeated():
        assert fill(weight) is weight
    assert weight.mean().item() == pytest.approx(mean, abs=0.1 * std)
    assert weight.std().item() == pytest.approx(std, rel=0.1)
    assert len({tuple(row.tolist()) for row in weight}) == 120
    flat = weight.view(-1)
    assert torch.equal(flat[: drawing.BLOCK], flat[drawing.BLOCK : 2 * drawing.BLOCK])


def test_parameters_are_filled_with_copies_too() -> None:
    with drawing.repeated():
        flat = nn.Linear(120, 80).weight.detach().view(-1)
    assert torch.equal(flat[: drawing.BLOCK], flat[drawing.BLOCK : 2 * drawing.BLOCK])


def test_small_tensors_are_drawn_as_ever() -> None:
    torch.manual_seed(3)
    expected = nn.Linear(20, 30).weight
    torch.manual_seed(3)
    with drawing.repeated():
        drawn = nn.Linear(20, 30).weight
    assert torch.equal(drawn, expected)


def test_what_is_no_plain_memory_is_left_to_torch() -> None:
    with drawing.repeated():
        strided = torch.zeros(100, 100).t().normal_()
        meta = torch.empty(100, 100, device="meta").normal_()
    assert strided.std().item() == pytest.approx(1.0, rel=0.1)
    assert meta.is_meta


def test_torch_is_as_before_afterwards() -> None:
    before = torch.Tensor.normal_, torch.Tensor.uniform_, nn.init.trunc_normal_
    with pytest.raises(ZeroDivisionError), drawing.repeated():
        raise ZeroDivisionError
    assert (torch.Tensor.normal_, torch.Tensor.uniform_, nn.init.trunc_normal_) == before
