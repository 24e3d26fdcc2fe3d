"""Recurrent layers, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from nnlint.linter.operators import linear as ops
from nnlint.linter.signal.base import Call, Matrix, Pulled, Step, UnfollowedError, follows
from nnlint.linter.signal.gaussian import Image, image, rectified
from nnlint.linter.signal.moments import Gradient, Value, even, folded
from nnlint.linter.signal.weights import Squares, mapped

# Steps after which the moments of a state are taken as settled, and the change that settles it.
MOST_STEPS, SETTLED = 24, 1e-3
# Share of the gradient below which nothing more is carried back in time.
NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance by unit."""

    mean: torch.Tensor
    var: torch.Tensor

    @property
    def square(self) -> torch.Tensor:
        """Mean square by unit."""
        return self.mean.square() + self.var


def _zero(units: int) -> Moments:
    zero = torch.zeros(units, dtype=torch.float64)
    return Moments(zero, zero)


def _times(a: Moments, b: Moments) -> Moments:
    mean = a.mean * b.mean
    return Moments(mean, (a.square * b.square - mean.square()).clamp(min=0))


def _plus(a: Moments, b: Moments) -> Moments:
    return Moments(a.mean + b.mean, a.var + b.var)


def _together(a: torch.Tensor, b: torch.Tensor, alike: float) -> torch.Tensor:
    """Return the power of a sum of two that are the same to a degree."""
    return a + b + 2 * alike * (a * b).sqrt()


def _of(found: Image) -> Moments:
    return Moments(found.mean, found.var)


@dataclass(frozen=True, slots=True)
class Gates:
    """The weights of one layer in one direction, by gate.

    Attributes:
        inputs: From the input, one matrix a gate.
        states: From the state before.
        bias: Both biases together; None without.
    """

    inputs: Sequence[Squares]
    states: Sequence[Squares]
    bias: Sequence[torch.Tensor]
    parameters: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, module: Any, suffix: str, count: int) -> Gates:
        """Read a layer of a torch.nn recurrent module."""
        w, u = (getattr(module, f"weight_{kind}_{suffix}") for kind in ("ih", "hh"))
        parameters = [w, u]
        total = torch.zeros(w.shape[0], dtype=torch.float64)
        if module.bias:
            biases = [getattr(module, f"bias_{kind}_{suffix}") for kind in ("ih", "hh")]
            total = sum((b.detach().double() for b in biases), total)
            parameters += biases
        return cls(
            [Squares(part) for part in w.detach().chunk(count)],
            [Squares(part) for part in u.detach().chunk(count)],
            list(total.chunk(count)),
            tuple(parameters),
        )

    def before(self, gate: int, x: Moments, h: Moments) -> Moments:
        """Return what goes into a gate's activation."""
        w, u = self.inputs[gate], self.states[gate]
        mean = mapped(w.weight, x.mean) + mapped(u.weight, h.mean) + self.bias[gate]
        return Moments(mean, w.forward(x.var) + u.forward(h.var))

    def alone(self, gate: int, h: Moments) -> Moments:
        """Return the part of the state alone."""
        u = self.states[gate]
        return Moments(mapped(u.weight, h.mean), u.forward(h.var))


@dataclass(slots=True)
class State:
    """One step: the state before and after, and the activations in between."""

    before: Moments
    h: Moments
    c: Moments
    old: Moments
    gates: tuple[Image, ...]
    squashed: Image | None = None


Powers = list[torch.Tensor]


class Cell:
    """A cell without gates: h = f(W x + U h), f tanh or ReLU."""

    gates = 1

    def __init__(self, weights: Gates, *, relu: bool = False) -> None:
        self.weights = weights
        self._relu = relu

    def kept(self, state: State, dh: torch.Tensor) -> torch.Tensor:
        """Return the power that goes to the state before unchanged."""
        del state
        return dh * 0

    def step(self, x: Moments, h: Moments, c: Moments) -> State:
        """Follow one step."""
        a = self.weights.before(0, x, h)
        found = rectified(a.mean, a.var) if self._relu else image(torch.tanh, a.mean, a.var)
        return State(h, _of(found), c, c, (found,))

    def back(
        self, state: State, dh: torch.Tensor, dc: torch.Tensor, alike: float
    ) -> tuple[Powers, torch.Tensor]:
        """Return the power at each gate's activation, and at the cell before.

        Args:
            state: The step.
            dh: Power at the state behind it.
            dc: Power at the cell behind it.
            alike: How far the gradients that arrive at single steps are the same one.
        """
        del alike
        return [dh * state.gates[0].slopes], dc * 0


class Lstm(Cell):
    """c = f c + i g and h = o tanh(c), with gates i, f, g, o (Hochreiter, Schmidhuber 1997)."""

    gates = 4

    def step(self, x: Moments, h: Moments, c: Moments) -> State:
        """Follow one step."""
        functions = (torch.sigmoid, torch.sigmoid, torch.tanh, torch.sigmoid)
        found = []
        for gate, function in enumerate(functions):
            a = self.weights.before(gate, x, h)
            found.append(image(function, a.mean, a.var))
        i, f, g, o = map(_of, found)
        new = _plus(_times(f, c), _times(i, g))
        squashed = image(torch.tanh, new.mean, new.var)
        return State(h, _times(o, _of(squashed)), new, c, tuple(found), squashed)

    def back(
        self, state: State, dh: torch.Tensor, dc: torch.Tensor, alike: float
    ) -> tuple[Powers, torch.Tensor]:
        """Return the power at each gate's activation, and at the cell before."""
        i, f, g, o = state.gates
        assert state.squashed is not None
        added = dh * _of(o).square * state.squashed.slopes
        dc = _together(dc, added, alike)
        powers = [
            dc * _of(g).square * i.slopes,
            dc * state.old.square * f.slopes,
            dc * _of(i).square * g.slopes,
            dh * _of(state.squashed).square * o.slopes,
        ]
        return powers, dc * _of(f).square


class Gru(Cell):
    """h = (1 - z) n + z h with n = tanh(W x + r U h) (Cho and others 2014)."""

    gates = 3

    def step(self, x: Moments, h: Moments, c: Moments) -> State:
        """Follow one step."""
        found = []
        for gate in (0, 1):
            a = self.weights.before(gate, x, h)
            found.append(image(torch.sigmoid, a.mean, a.var))
        r, z = map(_of, found)
        w = self.weights.inputs[2]
        outside = Moments(mapped(w.weight, x.mean) + self.weights.bias[2], w.forward(x.var))
        a = _plus(outside, _times(r, self.weights.alone(2, h)))
        found.append(image(torch.tanh, a.mean, a.var))
        n = _of(found[2])
        rest = Moments(1 - z.mean, z.var)
        return State(
            h, _plus(_times(rest, n), _times(z, h)), c, self.weights.alone(2, h), tuple(found)
        )

    def kept(self, state: State, dh: torch.Tensor) -> torch.Tensor:
        """Return the power that goes to the state before by the way of z."""
        return dh * _of(state.gates[1]).square

    def back(
        self, state: State, dh: torch.Tensor, dc: torch.Tensor, alike: float
    ) -> tuple[Powers, torch.Tensor]:
        """Return the power at each gate's activation, and none at a cell."""
        del alike
        r, z, n = state.gates
        rest = Moments(1 - z.mean, z.var)
        at_n = dh * rest.square * n.slopes
        at_r = at_n * state.old.square * r.slopes
        difference = Moments(n.mean - state.before.mean, n.var + state.before.var)
        at_z = dh * difference.square * z.slopes
        return [at_r, at_z, at_n], dc * 0


@dataclass(slots=True)
class Pass:
    """One layer in one direction over a sequence."""

    cell: Cell
    x: Moments
    length: int
    states: list[State]

    def state(self, step: int) -> State:
        """Return a step; those behind the last that was computed are as that one."""
        return self.states[min(step, len(self.states) - 1)]

    def output(self) -> Moments:
        """Return the moments of the states over all steps."""
        found = [self.state(t).h for t in range(self.length)]
        mean = torch.stack([h.mean for h in found])
        square = torch.stack([h.square for h in found]).mean(0)
        middle = mean.mean(0)
        return Moments(middle, (square - middle.square()).clamp(min=0))


def _run(cell: Cell, x: Moments, length: int, units: int) -> Pass:
    h = c = _zero(units)
    states: list[State] = []
    for _ in range(length):
        state = cell.step(x, h, c)
        states.append(state)
        change = float((state.h.square - h.square).abs().mean())
        h, c = state.h, state.c
        if len(states) >= MOST_STEPS or change < SETTLED * float(h.square.mean()):
            break
    return Pass(cell, x, length, states)


def _through(weights: Sequence[Squares], powers: Powers, size: int) -> torch.Tensor:
    """Return the power in front of the weights of all gates."""
    total = torch.zeros(size, dtype=torch.float64)
    for each, power in zip(weights, powers, strict=True):
        total = total + each.backward(power)
    return total


def _back(
    run: Pass,
    arriving: Sequence[torch.Tensor],
    batch: int,
    found: dict[int, tuple[torch.Tensor, float]],
    *,
    alike: float,
) -> list[torch.Tensor]:
    """Carry powers back in time; note those of the parameters, return those of the input by step."""
    weights = run.cell.weights
    units = run.state(0).h.mean.numel()
    carried = kept = dc = torch.zeros(units, dtype=torch.float64)
    inputs: list[torch.Tensor] = []
    width = run.x.mean.numel() if run.x.mean.numel() > 1 else weights.inputs[0].weight.shape[1]
    largest = max((float(power.max()) for power in arriving), default=0.0)
    gates = len(weights.inputs)
    from_x = from_h = 0.0
    at_bias = torch.zeros(gates, dtype=torch.float64)
    for step in reversed(range(run.length)):
        state = run.state(step)
        dh = carried + _together(kept, arriving[step], alike)
        if float(dh.max() + dc.max()) <= largest * NEGLIGIBLE:
            inputs.append(torch.zeros(width, dtype=torch.float64))
            continue
        powers, dc = run.cell.back(state, dh, dc, alike)
        total = sum(float(p.mean()) for p in powers) / gates
        from_x += batch * total * float(run.x.square.mean())
        from_h += batch * total * float(state.before.square.mean())
        at_bias += torch.stack([p.mean() for p in powers]).sqrt()
        inputs.append(_through(weights.inputs, powers, width))
        kept = run.cell.kept(state, dh)
        if isinstance(run.cell, Gru):
            powers = [*powers[:2], powers[2] * _of(state.gates[0]).square]
        carried = _through(weights.states, powers, units)
    bias = batch * float(at_bias.square().mean())
    for parameter, power in zip(weights.parameters, (from_x, from_h, bias, bias), strict=False):
        held = found.get(id(parameter), (parameter, 0.0))
        found[id(parameter)] = (parameter, held[1] + power)
    return inputs[::-1]


_CELLS = {ops.LSTM: Lstm, ops.GRU: Gru, ops.RNN: Cell}


@follows(ops.RNN, ops.LSTM, ops.GRU)
def recurrent(call: Call) -> Step:
    """Follow a recurrent module through its steps, forward and back (Chen and others 2018).

    Units are independent, and so are steps of the input; gates multiply as independent values do.
    A gradient goes back in time through the state and through the cell until nothing is left.
    """
    module: Any = call.node.module
    x = call.value()
    if module is None or len(x.shape) != 3 or getattr(module, "proj_size", 0) != 0:
        raise UnfollowedError("its form is not known")
    op = call.node.op
    assert op is not None
    first = bool(module.batch_first)
    x = folded(x, "spc" if first else "psc")
    place = 1 if first else 0
    length, units = x.shape[place], module.hidden_size
    directions = 2 if module.bidirectional else 1
    kind = _CELLS[op]
    current = Moments(_flat(x.mean), _flat(x.var))
    layers: list[list[Pass]] = []
    for layer in range(module.num_layers):
        passes = []
        for direction in range(directions):
            suffix = f"l{layer}" + ("_reverse" if direction else "")
            weights = Gates.of(module, suffix, kind.gates)
            relu = getattr(module, "nonlinearity", "tanh") == "relu"
            cell = kind(weights, relu=relu) if kind is Cell else kind(weights)
            passes.append(_run(cell, current, length, units))
        layers.append(passes)
        outputs = [run.output() for run in passes]
        current = Moments(torch.cat([o.mean for o in outputs]), torch.cat([o.var for o in outputs]))
    value = _output(x, current, place)
    state = _last(layers, x, place)
    states: Any = (state, state) if op is ops.LSTM else state

    def pull(gradients: Sequence[Any]) -> Iterator[Pulled]:
        found: dict[int, tuple[torch.Tensor, float]] = {}
        arriving = _arriving(gradients[0], length, units * directions, place)
        alike = 0.0 if gradients[0] is None else gradients[0].common + gradients[0].own
        if isinstance(gradients[1], tuple) and gradients[1][1] is not None:
            raise UnfollowedError("the gradient of a cell's last state is not followed")
        final = gradients[1][0] if isinstance(gradients[1], tuple) else gradients[1]
        for depth in reversed(range(len(layers))):
            passes = layers[depth]
            below: list[torch.Tensor] | None = None
            for direction, run in enumerate(passes):
                own = [power[direction * units : (direction + 1) * units] for power in arriving]
                own = own[::-1] if direction else own
                if isinstance(final, Gradient):
                    own[-1] = own[-1] + _state_power(final, depth * directions + direction, units)
                parts = _back(run, own, call.batch, found, alike=alike)
                parts = parts[::-1] if direction else parts
                below = (
                    parts if below is None else [a + b for a, b in zip(below, parts, strict=True)]
                )
            assert below is not None
            arriving, alike = below, 0.0
        for parameter, power in found.values():
            yield from Matrix(parameter).gradient(power)
        yield from call.back("input", _incoming(x, arriving, place))

    return Step((value, states), pull)


def _flat(moments: torch.Tensor) -> torch.Tensor:
    return moments.reshape(-1)


def _output(x: Value, found: Moments, place: int) -> Value:
    lead = (1, 1)
    shape = (*x.shape[:2], found.mean.numel())
    near = [0.0, 0.0, 0.0]
    # A state keeps about half of the one before.
    near[place] = 0.5
    return replace(
        x,
        shape=shape,
        mean=found.mean.reshape(*lead, -1),
        var=found.var.reshape(*lead, -1),
        shared=0.0,
        near=tuple(near),
        profile=None,
    )


def _last(layers: Sequence[Sequence[Pass]], x: Value, place: int) -> Value:
    found = [run.state(run.length - 1).h for passes in layers for run in passes]
    samples = x.shape[1 - place]
    mean = torch.stack([h.mean for h in found]).unsqueeze(1)
    var = torch.stack([h.var for h in found]).unsqueeze(1)
    return Value((len(found), samples, mean.shape[-1]), "csc", mean, var)


def _arriving(g: Gradient | None, length: int, units: int, place: int) -> list[torch.Tensor]:
    """Return the power at each step from the gradient of the output."""
    if g is None:
        return [torch.zeros(units, dtype=torch.float64) for _ in range(length)]
    power = (
        _flat(g.power).expand(units)
        if g.power.numel() in {1, units}
        else torch.full((units,), g.total, dtype=torch.float64)
    )
    profile = torch.ones(length, dtype=torch.float64)
    if g.profile is not None and g.profile.shape[place] == length:
        profile = g.profile.mean([d for d in range(3) if d != place])
    return [power * weight for weight in profile]


def _state_power(g: Gradient, index: int, units: int) -> torch.Tensor:
    rows = g.power.reshape(g.power.shape[0], -1)
    row = rows[index if rows.shape[0] > 1 else 0]
    return row.expand(units) if row.numel() == 1 else row


def _incoming(x: Value, powers: Sequence[torch.Tensor], place: int) -> Gradient:
    stacked = torch.stack(list(powers))
    profile = stacked.mean(1).reshape([-1 if d == place else 1 for d in range(3)])
    return Gradient(x.shape, x.roles, stacked.mean(0).reshape(1, 1, -1), profile=even(profile))
