from __future__ import annotations

from typing import Any

import pytest
import torch

from nnlint.probe_service.draw import draw, stream
from nnlint.protos.v1 import graph_pb2


def tensor(dtype: int = graph_pb2.SCALAR_TYPE_FLOAT32, shape: Any = (400, 25), **draw: Any) -> Any:
    return graph_pb2.Tensor(
        role=graph_pb2.Tensor.ROLE_INPUT, dtype=dtype, shape=shape, draw=graph_pb2.Draw(**draw)
    )


def test_the_same_place_draws_the_same_and_every_other_something_else() -> None:
    declared = tensor(normal={"mean": 0, "standard_deviation": 1})
    values = draw(declared, seed=1, step=2, index=3)
    assert torch.equal(values, draw(declared, seed=1, step=2, index=3))
    for other in ({"seed": 2}, {"step": 3}, {"index": 4}):
        assert not torch.equal(
            values, draw(declared, **{"seed": 1, "step": 2, "index": 3, **other})
        )


def test_drawing_leaves_the_random_stream_of_torch_alone() -> None:
    before = torch.get_rng_state()
    draw(tensor(uniform={"low": 0, "high": 1}), seed=0, step=0, index=0)
    assert torch.equal(before, torch.get_rng_state())


def test_normal_elements_have_the_mean_and_deviation_asked_for() -> None:
    values = draw(tensor(normal={"mean": 3, "standard_deviation": 0.5}), seed=0, step=0, index=0)
    assert values.mean().item() == pytest.approx(3, abs=0.03)
    assert values.std().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "dtype",
    [
        graph_pb2.SCALAR_TYPE_FLOAT32,
        graph_pb2.SCALAR_TYPE_FLOAT64,
        graph_pb2.SCALAR_TYPE_FLOAT16,
        graph_pb2.SCALAR_TYPE_BFLOAT16,
    ],
)
def test_uniform_elements_of_every_type_lie_within_the_bounds(dtype: int) -> None:
    values = draw(tensor(dtype, uniform={"low": -2, "high": 5}), seed=0, step=0, index=0)
    assert values.min() >= -2
    assert values.max() <= 5
    assert values.double().mean().item() == pytest.approx(1.5, abs=0.1)


def test_an_empty_looking_interval_draws_its_lower_bound() -> None:
    values = draw(tensor(uniform={"low": 1.0, "high": 1.0 + 1e-12}), seed=0, step=0, index=0)
    assert values.unique().numel() == 1


def test_integers_reach_both_ends_of_the_half_open_interval() -> None:
    declared = tensor(graph_pb2.SCALAR_TYPE_INT64, integers={"low": -1, "high": 2})
    assert draw(declared, seed=0, step=0, index=0).unique().tolist() == [-1, 0, 1]


def test_integers_also_make_bools_and_floats() -> None:
    bools = tensor(graph_pb2.SCALAR_TYPE_BOOL, integers={"low": 0, "high": 2})
    assert draw(bools, seed=0, step=0, index=0).dtype == torch.bool
    floats = tensor(integers={"low": 0, "high": 2})
    assert draw(floats, seed=0, step=0, index=0).unique().tolist() == [0.0, 1.0]


def test_binary_elements_are_high_as_often_as_asked() -> None:
    declared = tensor(binary={"low": -1, "high": 2, "probability": 0.25})
    values = draw(declared, seed=0, step=0, index=0)
    assert values.unique().tolist() == [-1.0, 2.0]
    assert (values == 2).double().mean().item() == pytest.approx(0.25, abs=0.02)


def test_a_simplex_adds_up_to_one_along_its_dimension() -> None:
    values = draw(tensor(simplex={"dimension": 1}), seed=0, step=0, index=0)
    assert torch.allclose(values.sum(1), torch.ones(400))
    logarithms = draw(
        tensor(simplex={"dimension": 1, "logarithmic": True}), seed=0, step=0, index=0
    )
    assert torch.allclose(logarithms.exp().sum(1), torch.ones(400))


def test_declared_strides_are_kept() -> None:
    declared = tensor(shape=(2, 3, 4, 5), normal={"mean": 0, "standard_deviation": 1})
    dense = draw(declared, seed=0, step=0, index=0)
    declared.strides.extend([60, 1, 15, 3])
    strided = draw(declared, seed=0, step=0, index=0)
    assert strided.stride() == (60, 1, 15, 3)
    assert torch.equal(strided, dense)


def test_streams_are_apart_and_fit_into_a_seed_of_torch() -> None:
    seeds = {stream(seed, step) for seed in (0, 1, 2**64 - 1) for step in range(100)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
