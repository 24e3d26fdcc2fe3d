"""Chains of layers end where something resets sizes, or leads around a layer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from predicting import graph_of

from nnlint.linter.load.weights import LOADED
from nnlint.linter.signal.chains import chains, fades, signal_of


def lengths(model: nn.Module, shape: tuple[int, ...] = (4, 8)) -> list[int]:
    return [len(chain.layers) for chain in chains(graph_of(model, shape))]


def test_layers_in_a_row_are_a_chain_with_their_activations() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    (chain,) = chains(graph_of(model, (4, 8)))
    assert [layer.path for layer in chain.layers] == ["0", "2", "4"]
    assert [node.op.name for node in chain.activations(0, 2) if node.op] == ["tanh", "relu"]


def test_a_norm_ends_a_chain() -> None:
    model = nn.Sequential(
        nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 4)
    )
    assert lengths(model) == [2, 2]


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.c(x + self.b(x))


def test_a_way_around_ends_a_chain() -> None:
    assert lengths(Around()) == []


class Again(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        for _ in range(5):
            x = torch.tanh(self.inner(x))
        return self.out(x)


def test_steps_of_one_layer_are_no_chain() -> None:
    assert all(length <= 2 for length in lengths(Again()))


def test_layers_that_get_trained_weights_are_no_chain() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    assert lengths(model) == [2]
    model.__dict__[LOADED] = True
    assert lengths(model) == []


def test_a_fade_tells_its_factor_for_each_layer() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(6) for m in (nn.Linear(64, 64), nn.ReLU())]
    graph = graph_of(nn.Sequential(*layers, nn.Linear(64, 10)), (16, 64))
    (chain,) = chains(graph)
    (fade,) = fades(chain, signal_of(graph))
    assert (fade.first, fade.last) == (0, 6)
    # With PyTorch's own weights and ReLU each layer keeps 1 / sqrt(6) of a gradient.
    assert fade.gain == pytest.approx(6**-0.5, rel=0.15)


def test_a_prediction_is_made_once_for_a_graph() -> None:
    graph = graph_of(nn.Linear(8, 4), (4, 8))
    assert signal_of(graph) is signal_of(graph)
