"""Models by others, built from their packages with random weights."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

TORCHVISION = (
    "resnet18",
    "mobilenet_v3_small",
    "vit_b_16",
    "swin_t",
    "densenet121",
    "efficientnet_b0",
    "inception_v3",
    "maxvit_t",
    "regnet_y_400mf",
    "squeezenet1_0",
    "shufflenet_v2_x1_0",
    "alexnet",
    "googlenet",
)
_COMPILED = (
    "qnms",
    "roi_align",
    "roi_pool",
    "ps_roi_align",
    "ps_roi_pool",
    "_roi_align_backward",
    "_roi_pool_backward",
    "_ps_roi_align_backward",
    "_ps_roi_pool_backward",
    "deform_conv2d",
    "_deform_conv2d_backward",
)


@functools.cache
def torchvision() -> Any:
    """Import torchvision for its Python models, also where its compiled operators do not load."""
    if not _compiled():
        library = torch.library.Library("torchvision", "DEF")
        _KEPT.append(library)
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in _COMPILED:
            library.define(f"{name}(Tensor x) -> Tensor")
        library.impl("nms", _nms, "CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = importlib.import_module("torchvision")
    if _KEPT:
        # Suppression is all that detection models need of what is compiled.
        found.ops.boxes._assert_has_ops = lambda: None
    return found


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return which boxes are left when those that overlap a better one are dropped."""
    overlaps = (torchvision().ops.box_iou(boxes, boxes) > threshold).numpy()
    dropped = torch.zeros(len(boxes), dtype=torch.bool).numpy()
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if not dropped[i]:
            kept.append(i)
            dropped |= overlaps[i]
    return torch.tensor(kept, dtype=torch.int64)


def _compiled() -> bool:
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    for path in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(path))
        except (OSError, RuntimeError):
            return False
    return torch._C._dispatch_has_kernel("torchvision::nms")


_KEPT: list[Any] = []  # the definitions end with their library


def vision(name: str) -> nn.Module:
    """Return a torchvision model with random weights."""
    options = {"init_weights": False} if name in {"inception_v3", "googlenet"} else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return torchvision().models.get_model(name, weights=None, **options).train()  # type: ignore[no-any-return]


def images(name: str, count: int = 2) -> torch.Tensor:
    """Return images of the size that a torchvision model takes."""
    size = 299 if name == "inception_v3" else 224
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def logits_loss(output: Any, target: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of a model's logits, and of those of its auxiliary heads."""
    heads = [output] if isinstance(output, torch.Tensor) else [h for h in output if h is not None]
    losses = [nn.functional.cross_entropy(head, target) for head in heads]
    total = losses[0]
    for loss in losses[1:]:
        total = total + 0.4 * loss
    return total


def bert() -> nn.Module:
    """Return a small BERT that classifies sequences."""
    transformers = _transformers()
    config = transformers.BertConfig(
        vocab_size=500,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        num_labels=3,
    )
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(config).train()  # type: ignore[no-any-return]


def gpt2() -> nn.Module:
    """Return a small GPT-2 with its tied embedding."""
    transformers = _transformers()
    config = transformers.GPT2Config(
        vocab_size=300,
        n_positions=64,
        n_embd=64,
        n_layer=3,
        n_head=4,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config).train()  # type: ignore[no-any-return]


def text(vocabulary: int, labels: int | None = None, *, count: int = 4) -> dict[str, torch.Tensor]:
    """Return a batch of token sequences with labels: one each, or one for each token."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, (count, 24), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 16:] = 0
    wanted = ids if labels is None else torch.randint(0, labels, (count,), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": wanted}


class LanguageModel(nn.Module):
    """An LSTM over tokens, with the embedding tied to the head."""

    def __init__(self, vocabulary: int = 200, width: int = 48) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits of the next token, classes second."""
        hidden, _ = self.lstm(self.embedding(tokens))
        return self.head(hidden).transpose(1, 2)  # type: ignore[no-any-return]


@functools.cache
def _transformers() -> Any:
    torchvision()  # which transformers imports
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("transformers")


Case = tuple[nn.Module, Any, Any]


def cases() -> dict[str, Callable[[], Case]]:
    """Return for each model how to make it, a batch, and its loss (None for that of forward)."""

    def of_vision(name: str) -> Callable[[], Case]:
        def make() -> Case:
            target = torch.randint(0, 1000, (2,), generator=torch.Generator().manual_seed(0))
            return vision(name), (images(name), target), logits_loss

        return make

    found: dict[str, Callable[[], Case]] = {name: of_vision(name) for name in TORCHVISION}
    found["bert"] = lambda: (bert(), text(500, 3), None)
    found["gpt2"] = lambda: (gpt2(), text(300), None)
    found["lstm"] = lambda: (
        LanguageModel().train(),
        torch.randint(0, 200, (4, 32), generator=torch.Generator().manual_seed(0)),
        "cross_entropy",
    )
    return found
