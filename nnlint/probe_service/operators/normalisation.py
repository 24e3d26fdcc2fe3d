"""Normalisation, also by statistics that change in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnlint.probe_service.operators.base import allow


def _lengths(given: Mapping[str, Any]) -> str:
    direction, length, dim = given.get("v"), given.get("g"), given.get("dim", 0)
    if not isinstance(direction, Sequence) or not isinstance(length, Sequence):
        return "v or g is no tensor"
    rank = len(direction)
    if not isinstance(dim, int) or not -1 <= dim < max(rank, 1):
        return f"dim {dim} is no dimension of v"
    wanted = [size if place == dim else 1 for place, size in enumerate(direction)]
    if dim == -1:
        wanted = [1] * rank
    if list(length) != wanted and not (dim == -1 and not length):
        return f"g has sizes {list(length)} where {wanted} are needed"
    return ""


allow(
    "torch compares the sizes of weights and statistics with the channels",
    """
    aten.batch_norm.default aten.cosine_similarity.default aten.group_norm.default
    aten.instance_norm.default aten.layer_norm.default aten.norm_except_dim.default
    aten.pairwise_distance.default aten.renorm.default aten.rms_norm.default
    """,
)
allow(
    "a product of directions and lengths, whose number is checked beforehand",
    """
    aten._weight_norm.default
    """,
    check=_lengths,
)
allow(
    "reduces existing dimensions to their norm",
    """
    aten.frobenius_norm.dim aten.linalg_matrix_norm.default aten.linalg_norm.default
    aten.linalg_vector_norm.default aten.norm.Scalar aten.norm.ScalarOpt_dim
    aten.norm.ScalarOpt_dim_dtype aten.norm.ScalarOpt_dtype
    """,
)
allow(
    "a norm named by one of two words",
    """
    aten.linalg_matrix_norm.str_ord aten.linalg_norm.ord_str
    """,
    words=("fro", "nuc"),
)
