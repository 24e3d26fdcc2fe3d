"""Gradients of the decoded graph equal those of the live model, to the bit."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from nnlint.errors import CaptureError
from nnlint.probe_service.capture import parity
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.replay import structure
from nnlint.protos.v1 import graph_pb2
from tests import zoo
from tests.probe import graphs
from tests.probe.capture import small

CASES: dict[str, Any] = {
    **small.CASES,
    "bert": (zoo.bert, zoo.text(500, 3), None),
    "gpt2": (zoo.gpt2, zoo.text(300), None),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_the_replayed_graph_are_equal_to_the_bit(name: str) -> None:
    make, batch, loss = CASES[name]
    torch.manual_seed(0)
    model = make().train()
    captured = capture_live(model, batch, loss)
    assert captured.parity.bit_equal
    assert captured.parity.loss_error == 0
    assert captured.parity.gradient_error == 0
    # The loss of a pair is that of its first output.
    trained = [n for n, _ in model.named_parameters() if name != "pair" or n.startswith("left")]
    assert captured.parity.gradients == len(trained)
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert not structure.check(graph, graphs.limits())
    assert len(captured.nodes) == len(graph.nodes)
    assert len(captured.tensors) == len(graph.tensors)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 2


class Reversed(Doubled):
    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * -0.1


class Custom(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function.apply(self.linear(x))  # custom


def line(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(i for i, each in enumerate(lines, 1) if each.endswith(text))


def test_a_custom_function_with_another_backward_is_refused_at_the_line_that_calls_it() -> None:
    with pytest.raises(CaptureError, match=r"Reversed, a custom autograd function") as caught:
        capture_live(Custom(Reversed), torch.randn(3, 4))
    assert "linear.weight" in str(caught.value)
    assert caught.value.location is not None
    assert caught.value.location.line == line("# custom")


def test_a_custom_function_whose_backward_is_the_true_one_is_captured_with_a_note() -> None:
    captured = capture_live(Custom(Doubled), torch.randn(3, 4))
    assert captured.parity.bit_equal
    assert any("Doubled" in note and "agree" in note for note in captured.notes)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_is_followed_and_noted(*, reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.inner = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Tanh())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.inner, self.first(x), use_reentrant=reentrant)

    captured = capture_live(Checkpointed(), torch.randn(3, 6))
    assert captured.parity.bit_equal
    assert captured.parity.gradients == 4
    assert any("checkpointed" in note for note in captured.notes)


def test_a_backward_hook_that_changes_gradients_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].register_full_backward_hook(lambda _, inputs, __: (inputs[0] * 3,))
    with pytest.raises(CaptureError, match="the backward hook of 1 is not part of a graph"):
        capture_live(model, torch.randn(3, 4))


@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.spectral_norm,
    ],
)
def test_reparametrised_layers_are_captured(wrap: Any) -> None:
    model = nn.Sequential(wrap(nn.Linear(6, 4)), nn.ReLU(), nn.Linear(4, 2))
    assert capture_live(model, torch.randn(3, 6)).parity.bit_equal


def test_tied_parameters_are_one_tensor_with_one_gradient() -> None:
    captured = capture_live(small.Words(), None, "cross_entropy")
    names = [tensor.name for tensor in captured.tensors]
    assert "embedding.weight" in names
    assert "head.weight" not in names
    assert captured.parity.gradients == len(list(small.Words().parameters()))


def test_parameters_in_the_same_memory_are_one_tensor_and_noted() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    model[2].weight.data = model[0].weight.data
    captured = capture_live(model, torch.randn(3, 5))
    assert captured.parity.bit_equal
    assert sum(tensor.name.endswith("weight") for tensor in captured.tensors) == 1
    assert any("0.weight and 2.weight" in note for note in captured.notes)


def test_parameters_that_share_a_part_of_their_memory_are_refused() -> None:
    class Overlapping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            whole = torch.randn(9, 6)
            self.low = nn.Parameter(whole[:6])
            self.high = nn.Parameter(whole[3:])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(F.linear(x, self.low), self.high)

    with pytest.raises(CaptureError, match="low and high share a part of their memory"):
        capture_live(Overlapping(), torch.randn(2, 6))


def test_gradients_that_overflow_are_equal_where_they_overflow_alike() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.fill_(1e30)
        model[1].weight.fill_(1e30)
    captured = capture_live(model, torch.randn(3, 4))
    assert captured.parity.bit_equal
    assert captured.parity.gradient_error == 0


def test_differences_are_measured_by_norm_with_a_floor_for_gradients_that_are_rounding() -> None:
    a = torch.tensor([3.0, 4.0])
    assert parity.relative(a, a.clone(), 0.0) == 0
    assert parity.relative(a, a * 1.001, 0.0) == pytest.approx(1e-3, rel=1e-3)
    assert parity.relative(a * 1e-9, a * 2e-9, 1.0) == pytest.approx(5e-9)
    nan = torch.tensor([math.nan, 1.0])
    assert parity.relative(nan, nan.clone(), 0.0) == 0
    assert parity.relative(nan, torch.tensor([1.0, math.nan]), 0.0) == math.inf
    assert parity.relative(a, torch.tensor([3.0, math.inf]), 0.0) == math.inf
    assert parity.relative(a, torch.tensor([3.0]), 0.0) == math.inf


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.float16], ids=["double", "bfloat16", "half"]
)
def test_models_of_other_types_are_drawn_for_and_captured_in_theirs(dtype: torch.dtype) -> None:
    captured = capture_live(nn.Sequential(nn.Linear(4, 4), nn.Tanh()).to(dtype))
    assert captured.parity.bit_equal
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert {tensor.dtype for tensor in graph.tensors} == {graph.tensors[0].dtype}


class Masked(nn.Module):
    """A transformer encoder over tokens, with a mask that torch's layers look into."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.embedding = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 20)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        size = tokens.size(1)
        mask = nn.Transformer.generate_square_subsequent_mask(size)
        mask = mask if self.causal else torch.zeros_like(mask)
        return self.head(self.encoder(self.embedding(tokens), mask=mask))[:, -1]


@pytest.mark.parametrize("causal", [True, False])
def test_masks_are_taken_for_causal_where_the_live_model_takes_them_so(*, causal: bool) -> None:
    batch = (torch.randint(0, 20, (4, 6)), torch.randint(0, 20, (4,)))
    captured = capture_live(Masked(causal=causal).train(), batch, "cross_entropy")
    assert captured.parity.bit_equal
    graph = graph_pb2.Graph.FromString(captured.graph)
    place = list(graph.operators).index("aten.scaled_dot_product_attention.default")
    calls = [node for node in graph.nodes if node.operator == place]
    assert len(calls) == 2
    # torch leaves out a mask that it knows to be causal.
    assert all((len(node.arguments) > 5 and node.arguments[5].boolean) == causal for node in calls)


def test_channels_last_weights_and_images_keep_their_order_in_memory() -> None:
    model = small.Residual().to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    captured = capture_live(model, (images, torch.tensor([0, 1, 2, 3])), "cross_entropy")
    assert captured.parity.bit_equal
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert list(graph.tensors[0].strides) == [192, 1, 24, 3]


def test_python_randomness_in_forward_is_seeded_alike() -> None:
    class Stochastic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                if random.getrandbits(1):
                    x = layer(x)
            return x

    state = random.getstate()
    assert capture_live(Stochastic(), torch.randn(2, 5)).parity.bit_equal
    assert random.getstate() == state


# Each with the sizes of one input, as torch.nn documents them.
LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    *(
        (activation, (4, 8))
        for activation in (
            nn.AlphaDropout(),
            nn.CELU(),
            nn.ELU(),
            nn.FeatureAlphaDropout(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.GLU(),
            nn.Hardshrink(),
            nn.Hardsigmoid(),
            nn.Hardswish(),
            nn.Hardtanh(),
            nn.LayerNorm(8),
            nn.LeakyReLU(),
            nn.LogSigmoid(),
            nn.LogSoftmax(1),
            nn.Mish(),
            nn.PReLU(),
            nn.RMSNorm(8),
            nn.RReLU(),
            nn.ReLU6(),
            nn.SELU(),
            nn.SiLU(),
            nn.Softmax(1),
            nn.Softmin(1),
            nn.Softplus(),
            nn.Softshrink(),
            nn.Softsign(),
            nn.Tanhshrink(),
            nn.Threshold(0.1, 0.2),
        )
    ),
    (nn.AdaptiveAvgPool3d(2), (2, 3, 4, 4, 4)),
    (nn.AdaptiveMaxPool1d(2), (2, 3, 8)),
    (nn.AdaptiveMaxPool2d(2), (2, 3, 8, 8)),
    (nn.AvgPool1d(2), (2, 3, 8)),
    (nn.AvgPool3d(2), (2, 3, 4, 4, 4)),
    (nn.ChannelShuffle(3), (2, 3, 4, 4)),
    (nn.CircularPad1d(1), (2, 3, 8)),
    (nn.Conv1d(3, 4, 3, padding="same"), (2, 3, 8)),
    (nn.Conv3d(3, 4, 3), (2, 3, 4, 4, 4)),
    (nn.ConvTranspose1d(3, 4, 3), (2, 3, 8)),
    (nn.ConvTranspose2d(3, 4, 3, stride=2), (2, 3, 5, 5)),
    (nn.ConvTranspose3d(3, 4, 3), (2, 3, 4, 4, 4)),
    (nn.Dropout1d(), (2, 3, 8)),
    (nn.Fold((4, 4), (2, 2)), (2, 12, 9)),
    (nn.GroupNorm(3, 6), (2, 6, 4, 4)),
    (nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (2, 3, 8, 8)),
    (nn.LPPool2d(2, 2), (2, 3, 8, 8)),
    (nn.LocalResponseNorm(3), (2, 3, 8, 8)),
    (nn.MaxPool1d(2), (2, 3, 8)),
    (nn.MaxPool3d(2), (2, 3, 4, 4, 4)),
    (nn.PixelUnshuffle(2), (2, 3, 8, 8)),
    (nn.ReflectionPad2d(1), (2, 3, 8, 8)),
    (nn.ReplicationPad3d(1), (2, 3, 4, 4, 4)),
    (nn.TransformerEncoderLayer(8, 2, 16), (5, 2, 8)),
    (nn.Unfold(2), (2, 3, 4, 4)),
    (nn.Upsample(scale_factor=2, mode="bicubic"), (2, 3, 8, 8)),
    (nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 8, 8)),
    (nn.Upsample(scale_factor=2, mode="linear"), (2, 3, 8)),
    (nn.Upsample(scale_factor=2, mode="trilinear"), (2, 3, 4, 4, 4)),
    (nn.Upsample(size=(5, 5), mode="nearest-exact"), (2, 3, 8, 8)),
]


class Scaled(nn.Module):
    """A layer behind a parameter, so that something is trained."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, width))
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x * self.scale)


@pytest.mark.parametrize(("layer", "sizes"), LAYERS, ids=lambda value: str(value)[:40])
def test_every_usual_layer_is_captured(layer: nn.Module, sizes: tuple[int, ...]) -> None:
    captured = capture_live(Scaled(layer, sizes[-1]), torch.randn(sizes))
    assert captured.parity.bit_equal
