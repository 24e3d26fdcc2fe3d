"""Dropout in its kinds."""

from __future__ import annotations

from nnlint.linter.operators import shapes
from nnlint.linter.operators.base import Family, operator

_PARAMS = "input p training inplace"

DROPOUT = operator(
    "dropout",
    Family.DROPOUT,
    params=_PARAMS,
    shape=shapes.same,
    modules="Dropout",
    functions="F.dropout torch.dropout torch.dropout_",
    aten="dropout",
)
# Drops whole channels; each takes a batch, then channels, then 1, 2 or 3 further dimensions.
DROPOUT1D = operator(
    "dropout1d",
    Family.DROPOUT,
    params=_PARAMS,
    shape=shapes.same,
    modules="Dropout1d",
    functions="F.dropout1d",
)
DROPOUT2D = operator(
    "dropout2d",
    Family.DROPOUT,
    params=_PARAMS,
    shape=shapes.same,
    modules="Dropout2d",
    functions="F.dropout2d",
)
DROPOUT3D = operator(
    "dropout3d",
    Family.DROPOUT,
    params=_PARAMS,
    shape=shapes.same,
    modules="Dropout3d",
    functions="F.dropout3d",
)
# What Dropout1d, 2d and 3d become in an exported graph.
FEATURE_DROPOUT = operator(
    "feature_dropout",
    Family.DROPOUT,
    params=_PARAMS,
    shape=shapes.same,
    functions="torch.feature_dropout",
    aten="feature_dropout",
)
ALPHA_DROPOUT = operator(
    "alpha_dropout",
    Family.DROPOUT,
    params=_PARAMS,
    shape=shapes.same,
    modules="AlphaDropout",
    functions="F.alpha_dropout torch.alpha_dropout",
    aten="alpha_dropout",
)
FEATURE_ALPHA_DROPOUT = operator(
    "feature_alpha_dropout",
    Family.DROPOUT,
    params=_PARAMS,
    shape=shapes.same,
    modules="FeatureAlphaDropout",
    functions="F.feature_alpha_dropout torch.feature_alpha_dropout",
    aten="feature_alpha_dropout",
)
