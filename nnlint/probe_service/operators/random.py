"""Random numbers from the probe's own stream, seeded by the probe."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "drops elements; torch requires a probability",
    """
    aten.alpha_dropout.default aten.alpha_dropout_.default aten.dropout.default
    aten.dropout_.default aten.feature_alpha_dropout.default
    aten.feature_alpha_dropout_.default aten.feature_dropout.default
    aten.feature_dropout_.default aten.native_dropout.default
    """,
)
allow(
    "draws independent elements of given sizes",
    """
    aten.bernoulli.Tensor aten.bernoulli.default aten.bernoulli.p aten.exponential.default
    aten.normal.Tensor_Tensor aten.normal.Tensor_float aten.normal.float_Tensor
    aten.normal.float_float aten.poisson.default aten.rand.default aten.rand_like.default
    aten.randint.default aten.randint.low aten.randint_like.default
    aten.randint_like.low_dtype aten.randn.default aten.randn_like.default
    aten.randperm.default
    """,
)
allow(
    "redraws the elements of a tensor in place",
    """
    aten.bernoulli_.Tensor aten.bernoulli_.float aten.cauchy_.default
    aten.exponential_.default aten.geometric_.default aten.log_normal_.default
    aten.normal_.default aten.random_.default aten.random_.from aten.random_.to
    aten.uniform_.default
    """,
)
allow(
    "draws positions within a distribution, which torch checks",
    """
    aten.multinomial.default
    """,
)
