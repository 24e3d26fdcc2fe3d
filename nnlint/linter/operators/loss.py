"""Loss functions. `input` is the model's output, `target` the labels."""

from __future__ import annotations

from nnlint.linter.operators import shapes
from nnlint.linter.operators.base import Family, Operator, operator


def _loss(
    name: str,
    *,
    params: str = "input target",
    modules: str = "",
    functions: str = "",
    aten: str = "",
) -> Operator:
    return operator(
        name,
        Family.LOSS,
        params=params,
        shape=shapes.loss,
        modules=modules,
        functions=functions or f"F.{name}",
        aten=aten or name,
    )


_WEIGHTED = "input target weight size_average ignore_index reduce reduction label_smoothing"
CROSS_ENTROPY = _loss(
    "cross_entropy", params=_WEIGHTED, modules="CrossEntropyLoss", aten="cross_entropy_loss"
)
NLL_LOSS = _loss(
    "nll_loss",
    params=_WEIGHTED.removesuffix(" label_smoothing"),
    modules="NLLLoss NLLLoss2d",
    functions="F.nll_loss",
    aten="nll_loss nll_loss_nd nll_loss2d nll_loss_forward",
)
BCE = _loss(
    "binary_cross_entropy",
    params="input target weight size_average reduce reduction",
    modules="BCELoss",
)
BCE_WITH_LOGITS = _loss(
    "binary_cross_entropy_with_logits",
    params="input target weight size_average reduce reduction pos_weight",
    modules="BCEWithLogitsLoss",
)
MULTILABEL_SOFT_MARGIN = _loss("multilabel_soft_margin_loss", modules="MultiLabelSoftMarginLoss")
MULTILABEL_MARGIN = _loss("multilabel_margin_loss", modules="MultiLabelMarginLoss")
MULTI_MARGIN = _loss("multi_margin_loss", modules="MultiMarginLoss")
SOFT_MARGIN = _loss("soft_margin_loss", modules="SoftMarginLoss")
HINGE_EMBEDDING = _loss("hinge_embedding_loss", modules="HingeEmbeddingLoss")
MSE = _loss("mse_loss", modules="MSELoss")
L1 = _loss("l1_loss", modules="L1Loss")
SMOOTH_L1 = _loss("smooth_l1_loss", modules="SmoothL1Loss")
HUBER = _loss("huber_loss", modules="HuberLoss")
KL_DIV = _loss(
    "kl_div", params="input target size_average reduce reduction log_target", modules="KLDivLoss"
)
POISSON_NLL = _loss("poisson_nll_loss", params="input target log_input", modules="PoissonNLLLoss")
GAUSSIAN_NLL = _loss("gaussian_nll_loss", params="input target var", modules="GaussianNLLLoss")
CTC = _loss(
    "ctc_loss",
    params="input target input_lengths target_lengths blank reduction",
    modules="CTCLoss",
)
COSINE_EMBEDDING = _loss(
    "cosine_embedding_loss", params="input input2 target", modules="CosineEmbeddingLoss"
)
MARGIN_RANKING = _loss(
    "margin_ranking_loss", params="input input2 target", modules="MarginRankingLoss"
)
TRIPLET = _loss(
    "triplet_margin_loss",
    params="input positive negative",
    modules="TripletMarginLoss TripletMarginWithDistanceLoss",
    functions="F.triplet_margin_loss F.triplet_margin_with_distance_loss",
)
# Losses whose target is one class index (or a distribution over classes) per sample.
MULTICLASS = frozenset({CROSS_ENTROPY, NLL_LOSS, MULTI_MARGIN})
BINARY = frozenset({BCE, BCE_WITH_LOGITS})
CLASSIFICATION = MULTICLASS | BINARY | {MULTILABEL_SOFT_MARGIN, MULTILABEL_MARGIN, SOFT_MARGIN}
