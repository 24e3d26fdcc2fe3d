"""Attention."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "queries, keys, values and mask of sizes that torch compares",
    """
    aten.scaled_dot_product_attention.default
    """,
)
