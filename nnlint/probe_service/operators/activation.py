"""Activations and the functions that make probabilities."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "elementwise: each result comes from the element in its place",
    """
    aten.celu.default aten.celu_.default aten.elu.default aten.elu_.default
    aten.hardshrink.default aten.hardsigmoid.default aten.hardsigmoid_.default
    aten.hardswish.default aten.hardswish_.default aten.hardtanh.default
    aten.hardtanh_.default aten.leaky_relu.default aten.leaky_relu_.default
    aten.log_sigmoid.default aten.mish.default aten.mish_.default aten.relu.default
    aten.relu6.default aten.relu6_.default aten.relu_.default aten.selu.default
    aten.selu_.default aten.sigmoid.default aten.sigmoid_.default aten.silu.default
    aten.silu_.default aten.softplus.default aten.softshrink.default aten.tanh.default
    aten.tanh_.default aten.threshold.default aten.threshold_.default
    """,
)
allow(
    "elementwise, with one word that picks the formula",
    """
    aten.gelu.default aten.gelu_.default
    """,
    words=("none", "tanh"),
)
allow(
    "elementwise with one slope for each channel, whose number torch compares",
    """
    aten.prelu.default
    """,
)
allow(
    "elementwise with random slopes from the probe's own stream",
    """
    aten.rrelu.default aten.rrelu_.default
    """,
)
allow(
    "halves of one dimension, which torch requires to be even",
    """
    aten.glu.default
    """,
)
allow(
    "normalises along one dimension, which torch requires to exist",
    """
    aten._log_softmax.default aten._safe_softmax.default aten._softmax.default
    aten.log_softmax.int aten.softmax.int
    """,
)
