"""How people write shapes, constructor arguments, losses and sizes, in options and in TOML."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Sequence
from typing import Any

from nnlint.errors import UsageError
from nnlint.linter.settings import InputSpec

DTYPES = (
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    "complex128",
)
_DTYPE_ALIASES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}
INPUT_FORM = "a shape such as 2x3x224x224, with a type 2x128:int64, with a name ids=2x128:int64"
_INPUT = re.compile(r"(?:(?P<name>[^\W\d]\w*)\s*=)?\s*(?P<shape>[^:]*)(?::(?P<dtype>.*))?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

# Each loss by the name of its function in torch.nn.functional, and its class in torch.nn.
LOSSES = {
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "cosine_embedding_loss": "CosineEmbeddingLoss",
    "cross_entropy": "CrossEntropyLoss",
    "ctc_loss": "CTCLoss",
    "gaussian_nll_loss": "GaussianNLLLoss",
    "hinge_embedding_loss": "HingeEmbeddingLoss",
    "huber_loss": "HuberLoss",
    "kl_div": "KLDivLoss",
    "l1_loss": "L1Loss",
    "margin_ranking_loss": "MarginRankingLoss",
    "mse_loss": "MSELoss",
    "multi_margin_loss": "MultiMarginLoss",
    "multilabel_margin_loss": "MultiLabelMarginLoss",
    "multilabel_soft_margin_loss": "MultiLabelSoftMarginLoss",
    "nll_loss": "NLLLoss",
    "poisson_nll_loss": "PoissonNLLLoss",
    "smooth_l1_loss": "SmoothL1Loss",
    "soft_margin_loss": "SoftMarginLoss",
    "triplet_margin_loss": "TripletMarginLoss",
}
_LOSS_ALIASES = {
    "bce": "binary_cross_entropy",
    "bce_loss": "binary_cross_entropy",
    "bce_with_logits": "binary_cross_entropy_with_logits",
    "bce_with_logits_loss": "binary_cross_entropy_with_logits",
    "ce": "cross_entropy",
    "cross_entropy_loss": "cross_entropy",
    "ctc": "ctc_loss",
    "huber": "huber_loss",
    "kl_div_loss": "kl_div",
    "l1": "l1_loss",
    "mae": "l1_loss",
    "mse": "mse_loss",
    "nll": "nll_loss",
    "smooth_l1": "smooth_l1_loss",
}


def parse_input(text: str) -> InputSpec:
    """Read one input: `2x3x224x224`, `2x128:int64` or `ids=2x128:int64`."""
    match = _INPUT.fullmatch(text.strip())
    sizes = re.split(r"[x,]", match["shape"].strip()) if match and match["shape"].strip() else []
    if not match or not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", size) for size in sizes):
        raise UsageError(f"{text!r} is no input", hint=INPUT_FORM)
    if not sizes and match["dtype"] is None:
        raise UsageError(f"{text!r} is no input", hint=INPUT_FORM)
    dtype = "float32" if match["dtype"] is None else parse_dtype(match["dtype"].strip())
    return make_input([int(size) for size in sizes], dtype, match["name"] or "")


def make_input(shape: Sequence[int], dtype: str = "float32", name: str = "") -> InputSpec:
    """Check a shape and a type name and return the input."""
    if any(size < 1 for size in shape):
        raise UsageError(
            f"the shape {'x'.join(map(str, shape))} has a size below 1", hint=INPUT_FORM
        )
    return InputSpec(tuple(shape), parse_dtype(dtype), name)


def parse_dtype(text: str) -> str:
    """Return the torch name of an element type; `torch.` in front and C names are understood."""
    name = text.removeprefix("torch.")
    name = _DTYPE_ALIASES.get(name, name)
    if name not in DTYPES:
        close = difflib.get_close_matches(name, (*DTYPES, *_DTYPE_ALIASES), 1)
        raise UsageError(
            f"unknown element type {text!r}",
            hint=f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(DTYPES)}",
        )
    return name


def parse_loss(text: str) -> str:
    """Return the loss as "cross_entropy" or "torch.nn.CrossEntropyLoss", however it is written."""
    for prefix in ("torch.nn.functional.", "nn.functional.", "functional.", "F."):
        if (name := text.removeprefix(prefix)) != text and name in LOSSES:
            return name
    name = text.removeprefix("torch.").removeprefix("nn.")
    if name in LOSSES.values():
        return f"torch.nn.{name}"
    key = re.sub(r"[\s-]+", "_", name.lower())
    if (key := _LOSS_ALIASES.get(key, key)) in LOSSES:
        return key
    known = {spelling.lower(): spelling for spelling in (*LOSSES, *_LOSS_ALIASES, *LOSSES.values())}
    close = difflib.get_close_matches(name.lower(), known, 1)
    hint = f"did you mean {known[close[0]]!r}?" if close else f"one of: {', '.join(LOSSES)}"
    raise UsageError(f"unknown loss {text!r}", hint=hint)


def parse_size(text: str | int) -> int:
    """Return the bytes of `8GB`, `512M` or a plain number; units are powers of 1024."""
    match = _SIZE.fullmatch(str(text).strip())
    size = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size < 1:
        raise UsageError(f"{str(text)!r} is no amount of memory", hint="such as 8GB or 512MB")
    return size


def parse_argument(text: str) -> tuple[str, Any]:
    """Read one constructor argument: a Python literal, else a string; `name=value` for a keyword.

    Returns:
        The keyword, "" for a positional argument, and the value.
    """
    name, separator, rest = text.partition("=")
    if separator and name.strip().isidentifier():
        return name.strip(), _literal(rest)
    return "", _literal(text)


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    # Settings cross to the worker as JSON, which has neither bytes nor complex numbers.
    return text if isinstance(value, bytes | complex) or value is Ellipsis else value
