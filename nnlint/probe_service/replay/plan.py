"""What is observed in a graph: which results, which of them are activations, what their units are.

Observed is what computes: results that are mere views, copies, parts or fills of other values, or a
dropout of them, would say the same number twice and cost a pass over memory each. So would a batch
norm whose result goes into an activation alone: its own magnitude is that of its weight and bias,
and the activation's result is observed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnlint.probe_service.replay.decode import Call
from nnlint.probe_service.replay.structure import FLOATING, elements
from nnlint.protos.v1 import graph_pb2, measurement_pb2


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VIEWS = _names(
    """
    _unsafe_view adjoint alias atleast_1d atleast_2d atleast_3d broadcast_tensors broadcast_to chunk
    contiguous detach detach_ diagonal dropout dropout_ dsplit expand expand_as feature_dropout flatten
    hsplit imag lift_fresh mH mT moveaxis movedim narrow native_dropout numpy_T permute ravel real
    reshape reshape_as resolve_conj resolve_neg select slice split split_with_sizes squeeze squeeze_
    swapaxes swapdims t t_ tensor_split to transpose transpose_ type_as unbind unflatten unfold
    unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_ view view_as
    view_as_complex view_as_real vsplit
    """
)
_COPIES = _names(
    """
    _pad_circular _to_copy alpha_dropout alpha_dropout_ block_diag cartesian_prod cat
    channel_shuffle clone col2im column_stack concat concatenate constant_pad_nd copy copy_ diag
    diag_embed diagflat diagonal_copy diagonal_scatter dstack expand_copy feature_alpha_dropout
    feature_alpha_dropout_ feature_dropout_ flip fliplr flipud gather hstack im2col index
    index_select lift_fresh_copy linalg_diagonal masked_fill masked_fill_ meshgrid
    native_channel_shuffle pad pad_sequence permute_copy pixel_shuffle pixel_unshuffle
    reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d
    replication_pad2d replication_pad3d roll rot90 row_stack select_copy select_scatter slice_copy
    slice_scatter split_copy squeeze_copy stack t_copy take take_along_dim tile transpose_copy tril
    tril_ triu triu_ unbind_copy unsqueeze_copy view_copy vstack where
    """
)
# New values that no other value determines.
_MADE = _names(
    """
    arange bartlett_window bernoulli bernoulli_ blackman_window cauchy_ exponential exponential_ eye
    fft_fftfreq fft_rfftfreq fill fill_ fill_diagonal_ full full_like geometric_ hamming_window
    hann_window kaiser_window linspace log_normal_ logspace multinomial new_full new_ones new_zeros
    normal normal_ one_hot ones ones_like poisson rand rand_like randint randint_like randn
    randn_like random_ randperm scalar_tensor uniform_ vander zero zero_ zeros zeros_like
    """
)
_UNOBSERVED = _VIEWS | _COPIES | _MADE
_NEVER_NEGATIVE = _names(
    "relu relu6 sigmoid hardsigmoid softmax _softmax _safe_softmax exp abs square softplus sqrt var"
)
# Where sigmoid and tanh count as flat: an input beyond 5 either way, as DeepDiagnosis (ICSE 2022)
# has it. There the slope is below 0.7 % of one, and 0.02 %. SageMaker Debugger puts the bounds at a
# slope of 1e-7, where float32 has long stopped to tell a result from 1.
_FLAT_BEYOND = 5.0
_FLAT: Mapping[str, tuple[float, float]] = {
    "sigmoid": (1 / (1 + math.exp(_FLAT_BEYOND)), 1 / (1 + math.exp(-_FLAT_BEYOND))),
    "tanh": (-math.tanh(_FLAT_BEYOND), math.tanh(_FLAT_BEYOND)),
    "hardsigmoid": (0.0, 1.0),
    "relu6": (0.0, 6.0),
}
_DEAD = frozenset({"relu", "relu6", "hardswish", "hardsigmoid"})
_ACTIVATIONS = _names(
    "celu elu gelu hardsigmoid hardswish hardtanh leaky_relu mish prelu relu relu6 selu sigmoid silu "
    "softplus tanh threshold"
)
# Results of these have their units in the last dimension, or in dimension 1.
_LAST = _names(
    "linear addmm mm matmul bmm baddbmm layer_norm native_layer_norm rms_norm embedding lstm gru "
    "rnn_tanh rnn_relu bilinear"
)
_SECOND = _names(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution "
    "_convolution batch_norm native_batch_norm instance_norm group_norm native_group_norm "
    "cudnn_batch_norm"
)


def base(name: str) -> str:
    """Return the operator's name without namespace and overload: "relu_" of "aten.relu_.default"."""
    return name.split(".")[1]


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one activation.

    Attributes:
        node: Position of the node.
        dimension: Which dimension counts them.
        count: How many there are.
        can_be_dead: Whether the operator gives exact zeros where it is off.
        responsive: The open interval outside of which the operator is flat, None where it has no
            flat region (or only the one at zero).
    """

    node: int
    dimension: int
    count: int
    can_be_dead: bool
    responsive: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Observed:
    """One observed node.

    Attributes:
        node: Position of the node.
        elements: Of its first result.
        never_negative: Whether its values cannot be below zero.
        counts_zeros: Whether exact zeros are counted: for activations that are off at zero and
            never negative.
        overwritten: Whether a later node writes into the result, or may.
    """

    node: int
    elements: int
    never_negative: bool
    counts_zeros: bool
    overwritten: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is observed.

    Attributes:
        nodes: In execution order.
        parameters: Positions of the trainable parameters among the tensors.
        parameter_elements: Their numbers of elements.
        units: Activations whose units are known.
    """

    nodes: tuple[Observed, ...]
    parameters: tuple[int, ...]
    parameter_elements: tuple[int, ...]
    units: tuple[Units, ...]

    def message(self) -> measurement_pb2.MeasurementPlan:
        """Return the plan as it is sent."""
        return measurement_pb2.MeasurementPlan(
            nodes=[each.node for each in self.nodes], parameters=self.parameters
        )


def plan(graph: graph_pb2.Graph, calls: Sequence[Call], parameters: Sequence[int]) -> Plan:
    """Say what is observed.

    Args:
        graph: The graph.
        calls: Its nodes, decoded.
        parameters: Positions of the trainable parameters.
    """
    overwritten = _overwritten(calls)
    activated = _activated(graph, calls)
    nodes, units = [], []
    dimensions = _Dimensions(graph, calls)
    for call in calls:
        name = base(call.name)
        dimensions.follow(call)
        outputs = graph.nodes[call.node].outputs
        if name in _UNOBSERVED or call.node in activated:
            continue
        if not outputs or outputs[0].dtype not in FLOATING:
            continue
        count = elements(outputs[0].shape)
        if not count:
            continue
        kind = name.removesuffix("_")
        dead, responsive = _activation(kind, call)
        nodes.append(
            Observed(
                node=call.node,
                elements=count,
                never_negative=kind in _NEVER_NEGATIVE or (dead and kind != "hardswish"),
                counts_zeros=dead and kind != "hardswish",
                overwritten=call.results[0] in overwritten,
            )
        )
        dimension = dimensions.of(call)
        if (dead or responsive is not None) and dimension is not None:
            units.append(Units(call.node, dimension, outputs[0].shape[dimension], dead, responsive))
    return Plan(
        nodes=tuple(nodes),
        parameters=tuple(parameters),
        parameter_elements=tuple(elements(graph.tensors[each].shape) for each in parameters),
        units=tuple(units),
    )


def _activated(graph: graph_pb2.Graph, calls: Sequence[Call]) -> set[int]:
    """Return the batch norms whose results go into one activation and nowhere else."""
    users: dict[int, list[Call]] = {}
    for call in calls:
        for slot in call.operands:
            users.setdefault(slot, []).append(call)
    outside = {
        reference.node
        for reference in (*graph.outputs, graph.loss)
        if reference.WhichOneof("source") == "node"
    }
    found = set()
    for call in calls:
        if base(call.name) != "batch_norm" or call.node in outside:
            continue
        its_users = users.get(call.results[0], [])
        if len(its_users) == 1 and base(its_users[0].name).removesuffix("_") in _ACTIVATIONS:
            found.add(call.node)
    return found


def _activation(kind: str, call: Call) -> tuple[bool, tuple[float, float] | None]:
    """Return whether an operator can be dead, and the interval in which it responds."""
    if kind in {"hardtanh", "clamp", "clamp_min"}:
        low, high = _bounds(kind, call)
        if low is None or (high is None and low != 0):
            return False, None
        return low == 0, None if high is None else (low, high)
    if kind == "threshold":
        # The last argument is what it gives where it is off.
        return call.arguments[2:3] == (0,), None
    return kind in _DEAD, _FLAT.get(kind)


def _bounds(kind: str, call: Call) -> tuple[float | None, float | None]:
    default = (-1.0, 1.0) if kind == "hardtanh" else (None, None)
    names = ("min_val", "max_val") if kind == "hardtanh" else ("min", "max")
    found: list[float | None] = []
    for position, name in enumerate(names, start=1):
        value = default[position - 1]
        if position < len(call.arguments):
            value = call.arguments[position]
        value = call.keywords.get(name, value)
        found.append(float(value) if isinstance(value, int | float) else None)
    low, high = found
    return (low, None) if kind == "clamp_min" else (low, high)


def _overwritten(calls: Sequence[Call]) -> set[int]:
    """Return the slots whose memory a node writes into, directly or through a view."""
    roots: dict[int, int] = {}
    written: set[int] = set()
    for call in calls:
        written |= {roots.get(slot, slot) for slot in call.written}
        shares = call.written or (base(call.name) in _VIEWS and call.operands)
        if shares:
            root = roots.get(shares[0], shares[0])
            roots |= dict.fromkeys(call.results, root)
    # A result that an operator wrote in place is observed after that; only a later write counts.
    last_writer: dict[int, int] = {}
    for call in calls:
        for slot in call.written:
            last_writer[roots.get(slot, slot)] = call.node
    return {
        slot
        for call in calls
        for slot in call.results
        if last_writer.get(roots.get(slot, slot), -1) > call.node
    }


class _Dimensions:
    """Follows the dimension that counts units from the layers to the activations."""

    def __init__(self, graph: graph_pb2.Graph, calls: Sequence[Call]) -> None:
        self.shapes: dict[int, Sequence[int]] = dict(
            enumerate(tensor.shape for tensor in graph.tensors)
        )
        for call in calls:
            outputs = graph.nodes[call.node].outputs
            self.shapes |= {
                slot: output.shape for slot, output in zip(call.results, outputs, strict=True)
            }
        self.known: dict[int, int] = {}

    def of(self, call: Call) -> int | None:
        """Return the dimension that counts the units of a node's first result."""
        return self.known.get(call.results[0]) if call.results else None

    def follow(self, call: Call) -> None:
        """Learn the dimension of a node's results; nodes come in execution order."""
        name = base(call.name).removesuffix("_")
        for slot in call.results:
            rank = len(self.shapes[slot])
            if name in _LAST and rank >= 1:
                self.known[slot] = rank - 1
            elif name in _SECOND and rank >= 2:
                # A convolution of one sample without a batch has its channels first.
                self.known[slot] = 1
            else:
                dimension = self._inherited(call, slot)
                if dimension is not None:
                    self.known[slot] = dimension

    def _inherited(self, call: Call, slot: int) -> int | None:
        """Take the dimension over from an operand that has it at the same place."""
        shape = self.shapes[slot]
        for operand in call.operands:
            dimension = self.known.get(operand)
            if dimension is None:
                continue
            before = self.shapes[operand]
            if len(before) == len(shape):
                if base(call.name) in {"permute", "transpose", "t", "movedim", "swapaxes"}:
                    return None
                return dimension
            # Batch dimensions that are merged or split leave the last one as it is.
            if dimension == len(before) - 1 and shape and shape[-1] == before[-1]:
                return len(shape) - 1
            return None
        return None
