"""The calls that say what a model's output means: losses, picks of a class, logarithms."""

from __future__ import annotations

LOSS_CLASSES = frozenset(
    f"torch.nn.{name}"
    for name in (
        "BCELoss",
        "BCEWithLogitsLoss",
        "CTCLoss",
        "CosineEmbeddingLoss",
        "CrossEntropyLoss",
        "GaussianNLLLoss",
        "HingeEmbeddingLoss",
        "HuberLoss",
        "KLDivLoss",
        "L1Loss",
        "MSELoss",
        "MarginRankingLoss",
        "MultiLabelMarginLoss",
        "MultiLabelSoftMarginLoss",
        "MultiMarginLoss",
        "NLLLoss",
        "NLLLoss2d",
        "PoissonNLLLoss",
        "SmoothL1Loss",
        "SoftMarginLoss",
        "TripletMarginLoss",
        "TripletMarginWithDistanceLoss",
    )
)

LOSS_FUNCTIONS = frozenset(
    f"torch.nn.functional.{name}"
    for name in (
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "cosine_embedding_loss",
        "cross_entropy",
        "ctc_loss",
        "gaussian_nll_loss",
        "hinge_embedding_loss",
        "huber_loss",
        "kl_div",
        "l1_loss",
        "margin_ranking_loss",
        "mse_loss",
        "multi_margin_loss",
        "multilabel_margin_loss",
        "multilabel_soft_margin_loss",
        "nll_loss",
        "poisson_nll_loss",
        "smooth_l1_loss",
        "soft_margin_loss",
        "triplet_margin_loss",
        "triplet_margin_with_distance_loss",
    )
)

_TORCH_ALIASES = frozenset(
    (
        "binary_cross_entropy_with_logits",
        "cosine_embedding_loss",
        "ctc_loss",
        "hinge_embedding_loss",
        "kl_div",
        "margin_ranking_loss",
        "poisson_nll_loss",
        "triplet_margin_loss",
    )
)

_LOGARITHMS = frozenset(("torch.log", "torch.log2", "torch.log10"))

_PAIR = ("input", "target")
_PARAMETERS = {
    "CosineEmbeddingLoss": ("input1", "input2", "target"),
    "cosine_embedding_loss": ("input1", "input2", "target"),
    "MarginRankingLoss": ("input1", "input2", "target"),
    "margin_ranking_loss": ("input1", "input2", "target"),
    "TripletMarginLoss": ("anchor", "positive", "negative"),
    "triplet_margin_loss": ("anchor", "positive", "negative"),
    "TripletMarginWithDistanceLoss": ("anchor", "positive", "negative"),
    "triplet_margin_with_distance_loss": ("anchor", "positive", "negative"),
    "CTCLoss": ("log_probs", "targets", "input_lengths", "target_lengths"),
    "ctc_loss": ("log_probs", "targets", "input_lengths", "target_lengths"),
    "GaussianNLLLoss": ("input", "target", "var"),
    "gaussian_nll_loss": ("input", "target", "var"),
}

_PICKS = {
    "torch.argmax": "torch.argmax",
    "torch.max": "torch.max",
    "torch.topk": "torch.topk",
    "numpy.argmax": "torch.argmax",
}

LEARNED = frozenset(
    f"torch.nn.{lazy}{name}"
    for lazy in ("", "Lazy")
    for name in (
        *(f"Conv{size}d" for size in (1, 2, 3)),
        *(f"ConvTranspose{size}d" for size in (1, 2, 3)),
        *(f"{kind}{cell}" for kind in ("RNN", "LSTM", "GRU") for cell in ("", "Cell")),
        "Linear",
        "Bilinear",
        "Embedding",
        "EmbeddingBag",
        "MultiheadAttention",
        "Transformer",
        "TransformerEncoder",
        "TransformerDecoder",
        "TransformerEncoderLayer",
        "TransformerDecoderLayer",
    )
)

DATA_PARALLEL = frozenset(
    (
        "torch.nn.DataParallel",
        "torch.nn.parallel.DataParallel",
        "torch.nn.parallel.DistributedDataParallel",
        "torch.nn.parallel.distributed.DistributedDataParallel",
        "torch.nn.parallel.data_parallel.DataParallel",
    )
)


def loss(dotted: str) -> str | None:
    """Return the canonical name of a loss class or function, None for anything else."""
    if dotted in LOSS_CLASSES or dotted in LOSS_FUNCTIONS:
        return dotted
    head, _, name = dotted.rpartition(".")
    if head == "torch" and name in _TORCH_ALIASES:
        return f"torch.nn.functional.{name}"
    return None


def pick(dotted: str) -> str | None:
    """Return the canonical name of a function that picks a class, None for anything else."""
    return _PICKS.get(dotted)


def logarithm(dotted: str) -> bool:
    """Tell whether a function is a logarithm: its result means something, whatever becomes of it."""
    return dotted in _LOGARITHMS


def parameters(dotted: str) -> tuple[str, ...]:
    """Return the names of the tensors that a loss takes, in order."""
    return _PARAMETERS.get(dotted.rpartition(".")[2], _PAIR)


def is_layer_class(dotted: str) -> bool:
    """Tell whether a name is an nn.Module of torch.nn itself."""
    head, _, name = dotted.rpartition(".")
    return head == "torch.nn" and name[:1].isupper() and not name.endswith(("Parameter", "Buffer"))
