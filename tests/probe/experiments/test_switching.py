from __future__ import annotations

from typing import Any

import pytest
import torch

from nnlint.probe_service.operators import reviewed
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.schema import signature
from nnlint.probe_service.replay.switching import _RANDOM, switched
from nnlint.protos.v1 import graph_pb2
from tests.probe import graphs
from tests.probe.replay.running import load

SHAPE = (8, 6)


def _unary(name: str, *arguments: Any, outputs: Any = ()) -> graphs.Built:
    b = graphs.Builder()
    x = b.call("aten.mul.Tensor", b.input(*SHAPE), b.parameter(1, values=[2.0]), shape=SHAPE)
    x = b.call(name, x, *arguments, shape=SHAPE, outputs=outputs)
    return b.build(b.call("aten.mean.default", x))


def _attention() -> graphs.Built:
    b = graphs.Builder(batch_size=2)
    q, k, v = (b.input(2, 2, 4, 6) for _ in range(3))
    x = b.call("aten.scaled_dot_product_attention.default", q, k, v, None, 0.5, shape=(2, 2, 4, 6))
    x = b.call("aten.mul.Tensor", x, b.parameter(1, values=[2.0]), shape=(2, 2, 4, 6))
    return b.build(b.call("aten.mean.default", x))


def _recurrent(kind: str) -> graphs.Built:
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    b = graphs.Builder(batch_size=2)
    x = b.input(2, 5, 4)
    state = b.buffer((2, 2, 4), [0.0] * 16)
    weights = [
        b.parameter(*shape)
        for _ in range(2)
        for shape in ((4 * gates, 4), (4 * gates, 4), (4 * gates,), (4 * gates,))
    ]
    states = [state, state] if kind == "lstm" else state
    results = [(graphs.FLOAT32, (2, 5, 4))] + [(graphs.FLOAT32, (2, 2, 4))] * (
        2 if kind == "lstm" else 1
    )
    x = b.call(
        f"aten.{kind}.input",
        *(x, states, weights, True, 2, 0.5, True, False, True),
        outputs=results,
    )
    return b.build(b.call("aten.mean.default", x))


DROPPING = (0.5, True)
TWO = [(graphs.FLOAT32, SHAPE), (graph_pb2.SCALAR_TYPE_BOOL, SHAPE)]
RANDOM = {
    "dropout": lambda: _unary("aten.dropout.default", *DROPPING),
    "dropout_": lambda: _unary("aten.dropout_.default", *DROPPING),
    "alpha_dropout": lambda: _unary("aten.alpha_dropout.default", *DROPPING),
    "feature_dropout": lambda: _unary("aten.feature_dropout.default", *DROPPING),
    "feature_alpha_dropout": lambda: _unary("aten.feature_alpha_dropout.default", *DROPPING),
    "native_dropout": lambda: _unary("aten.native_dropout.default", *DROPPING, outputs=TWO),
    "rrelu": lambda: _unary("aten.rrelu.default", *(0.1, 0.4, True)),
    "scaled_dot_product_attention": _attention,
    "lstm": lambda: _recurrent("lstm"),
    "gru": lambda: _recurrent("gru"),
    "rnn_tanh": lambda: _recurrent("rnn_tanh"),
    "rnn_relu": lambda: _recurrent("rnn_relu"),
}


def _losses(program: Program, seeds: int = 3) -> list[float]:
    losses = []
    for seed in range(seeds):
        program.inputs(0)
        torch.manual_seed(seed)
        losses.append(float(program.forward().detach()))
    return losses


@pytest.mark.parametrize("name", RANDOM)
def test_nothing_is_random_where_regularisation_is_off(name: str) -> None:
    program = load(RANDOM[name]())
    before = _losses(program)
    assert len(set(before)) == 3
    assert len(set(_losses(switched(program, dropout=False).program))) == 1
    assert _losses(program) == before


def test_every_random_operator_of_the_reviewed_ones_is_tried() -> None:
    kinds = {name.split(".")[1].removesuffix("_") for name in reviewed()}
    drops = {kind for kind in kinds if "dropout" in kind or "rrelu" in kind}
    declared = {
        name.split(".")[1]
        for name in reviewed()
        if (found := signature(name))
        and any(formal.name in {"dropout", "dropout_p"} for formal in found.formals)
    }
    assert drops | declared == set(_RANDOM)
    assert set(_RANDOM) == {name.removesuffix("_") for name in RANDOM}


def test_dropout_that_is_off_passes_values_on() -> None:
    program = load(_unary("aten.dropout.default", *DROPPING))
    quiet = switched(program, dropout=False).program
    x = quiet.inputs(0)[0]
    assert float(quiet.forward().detach()) == pytest.approx(float(2 * x.mean()), abs=1e-6)


def test_batch_norm_takes_running_statistics_and_leaves_them_alone() -> None:
    program = load(graphs.convnet())
    program.inputs(0)
    program.forward()
    state = {index: tensor.detach().clone() for index, tensor in program.state().items()}
    settled = switched(program, batch_statistics=False)
    assert settled.unsettled == ()
    loss = float(settled.program.forward().detach())
    # A batch norm counts its calls in any mode that was captured.
    counter = next(i for i, t in enumerate(program.graph.tensors) if t.dtype == graphs.INT64)
    for index, tensor in program.state().items():
        assert index == counter or torch.equal(tensor, state[index])
    assert loss != float(program.forward().detach())
    assert any(
        not torch.equal(tensor, state[i]) for i, tensor in program.state().items() if i != counter
    )


def test_batch_norm_without_running_statistics_is_named() -> None:
    b = graphs.Builder()
    x = b.call(
        "aten.batch_norm.default",
        *(b.input(*SHAPE), b.parameter(6), None, None, None, True, 0.1, 1e-5, False),
        shape=SHAPE,
    )
    program = load(b.build(b.call("aten.mean.default", x)))
    assert switched(program, batch_statistics=False).unsettled == (0,)


def test_the_original_computes_the_same_to_the_bit_afterwards() -> None:
    program, other = load(graphs.mlp()), load(graphs.mlp())
    quiet = switched(program, dropout=False, batch_statistics=False).program
    for each in (quiet, quiet):
        each.inputs(1)
        each.backward(each.forward())
    program.reset()
    assert _losses(program) == _losses(other)
    for mine, theirs in zip(program.trained(), other.trained(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.grad is None


def test_both_programs_share_their_tensors() -> None:
    program = load(graphs.mlp())
    quiet = switched(program, dropout=False).program
    assert all(a is b for a, b in zip(program.trained(), quiet.trained(), strict=True))
    quiet.inputs(3)
    assert program.tensor(0) is quiet.tensor(0)
