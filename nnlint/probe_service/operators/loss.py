"""Losses."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "classes beyond the given number are refused",
    """
    aten.cross_entropy_loss.default aten.multi_margin_loss.default
    aten.multilabel_margin_loss.default aten.nll_loss.default aten.nll_loss2d.default
    aten.nll_loss_nd.default
    """,
)
allow(
    "elementwise on operands that broadcast, then reduced",
    """
    aten.binary_cross_entropy.default aten.binary_cross_entropy_with_logits.default
    aten.cosine_embedding_loss.default aten.hinge_embedding_loss.default
    aten.huber_loss.default aten.kl_div.default aten.l1_loss.default
    aten.margin_ranking_loss.default aten.mse_loss.default aten.poisson_nll_loss.default
    aten.smooth_l1_loss.default aten.soft_margin_loss.default
    aten.triplet_margin_loss.default
    """,
)
