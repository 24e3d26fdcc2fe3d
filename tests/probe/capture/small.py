"""Small models that tests capture; each is written as users write theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def fixed(model: nn.Module) -> nn.Module:
    """Fill parameters with numbers that no generator draws, the same for ever."""
    with torch.no_grad():
        for parameter in model.parameters():
            count = parameter.numel()
            values = torch.arange(count, dtype=torch.float64).mul_(0.37).sin_().mul_(0.5)
            parameter.copy_(values.reshape(parameter.shape))
    return model


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.drop(F.relu(self.fc1(x))))


class Residual(nn.Module):
    """A small residual network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
        )
        self.head = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.stem(images)))
        x = F.relu(x + self.block(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Mobile(nn.Module):
    """Depthwise convolutions, hard swish and squeeze-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.Hardswish())
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 4, 1), nn.ReLU(), nn.Conv2d(4, 12, 1)
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.expand(x))
        x = x * F.hardsigmoid(self.squeeze(x))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    """A transformer block with scaled dot-product attention over patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.position = nn.Parameter(torch.zeros(1, 16, 16))
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.position
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        x = x + self.mlp(x)
        return self.head(x[:, 0])


class Words(nn.Module):
    """A recurrent language model whose head is its embedding."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.rnn = kind(12, 12, num_layers=2, dropout=0.3, batch_first=True)
        self.head = nn.Linear(12, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.rnn(self.embedding(tokens))
        return self.head(hidden).transpose(1, 2)


class Nested(nn.Module):
    """Gradients and autocast on and off within each other, and a buffer that forward replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.b = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.3)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.mean = self.mean * 0.9 + 0.1 * x.mean(0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.a(x)
            with torch.autocast("cpu", enabled=False):
                z = self.b(y.float())
            y = self.drop(self.a(z))
            with torch.no_grad():
                w = self.b(x)
        return y.float() + self.mean + w


class Keyed(nn.Module):
    """Takes a mapping and returns one, with the loss in it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 8)
        self.linear = nn.Linear(5, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        hidden = self.embedding(batch["ids"]).mean(1) + self.linear(batch["x"])
        logits = self.out(hidden)
        return {"loss": F.cross_entropy(logits, batch["labels"]), "logits": logits}


class Pair(nn.Module):
    """Takes a tuple and returns several tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(5, 4)
        self.right = nn.Linear(6, 4)

    def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        a, b = pair
        return self.left(a), self.right(b), a.mean()


class Moves(nn.Module):
    """Splits, in-place writes, literals, random masks and what forward creates."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        first, *rest = y.split(4, 1)
        y = torch.cat([first, *rest, y.unbind(1)[0][:, None]], 1)
        y[:, 0] = 0
        y[y > 1] = 0.5
        keep = torch.empty(17, device=x.device).bernoulli_(0.7)
        y = y.masked_fill(y < -1, -1.0) * torch.arange(17, device=x.device) * keep
        return y + torch.tensor([0.5]) + torch.rand_like(y)


Case = tuple[Callable[[], nn.Module], Any, Any]
CASES: dict[str, Case] = {
    "residual": (Residual, (torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 4, 2])), "cross_entropy"),
    "mobile": (Mobile, (torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 3, 2])), "cross_entropy"),
    "attention": (Attention, torch.randn(4, 3, 16, 16), "cross_entropy"),
    "lstm": (Words, None, "cross_entropy"),
    "gru": (lambda: Words(nn.GRU), None, "cross_entropy"),
    "rnn": (lambda: Words(nn.RNN), None, "cross_entropy"),
    "nested": (Nested, torch.randn(6, 8), "mse_loss"),
    "keyed": (
        Keyed,
        {
            "ids": torch.randint(0, 40, (6, 7)),
            "x": torch.randn(6, 5),
            "labels": torch.randint(0, 3, (6,)),
        },
        None,
    ),
    "pair": (Pair, ((torch.randn(4, 5), torch.randn(4, 6)), torch.randn(4, 4)), "mse_loss"),
    "moves": (Moves, torch.randn(4, 16), "mse_loss"),
}
