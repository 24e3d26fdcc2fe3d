"""Shape rules agree with what torch really computes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnlint.linter.operators.shapes import Tensor
from nnlint.linter.trace import propagate
from nnlint.linter.trace.convert import convert
from nnlint.linter.trace.positions import UserCode
from nnlint.linter.trace.symbolic import symbolic_trace


class Apply(nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def predicted(function: Callable[[Any], Any], x: torch.Tensor) -> tuple[Any, Any]:
    model = Apply(function)
    nodes = convert(symbolic_trace(model, UserCode("model.py", "", "")), model, lambda _: None)
    kind = "float" if x.is_floating_point() else "int"
    values, failure = propagate.run(nodes, {"x": Tensor(tuple(x.shape), kind)})
    result = nodes[-1].args["input"]
    if isinstance(result, (tuple, list)):
        return tuple(values[node] for node in result), failure
    return values.get(result, result), failure


def described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        kind = (
            "bool" if value.dtype == torch.bool else "float" if value.is_floating_point() else "int"
        )
        return Tensor(tuple(value.shape), kind)
    if isinstance(value, (tuple, list)):
        return tuple(described(v) for v in value)
    return value


IMAGE = torch.randn(2, 4, 8, 8)
ROWS = torch.randn(6, 4)
SEQUENCE = torch.randn(3, 5, 4)
TOKENS = torch.randint(0, 7, (3, 5))
PARAMETER = nn.Parameter(torch.randn(4))

CASES: list[tuple[str, Callable[[Any], Any], torch.Tensor]] = [
    ("conv2d", nn.Conv2d(4, 6, 3, stride=2, padding=1), IMAGE),
    ("conv2d dilated", nn.Conv2d(4, 6, 3, dilation=2), IMAGE),
    ("conv2d grouped", nn.Conv2d(4, 8, 3, groups=4), IMAGE),
    ("conv2d same", nn.Conv2d(4, 6, 3, padding="same"), IMAGE),
    ("conv2d unbatched", nn.Conv2d(4, 6, 3), IMAGE[0]),
    ("conv1d", nn.Conv1d(5, 6, 2), SEQUENCE),
    ("conv3d", nn.Conv3d(2, 3, 2), torch.randn(1, 2, 4, 4, 4)),
    ("functional conv", lambda x: F.conv2d(x, torch.ones(3, 4, 2, 2), padding=1), IMAGE),
    ("conv transpose", nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), IMAGE),
    ("linear", nn.Linear(4, 9), SEQUENCE),
    ("functional linear", lambda x: F.linear(x, torch.ones(9, 4)), ROWS),
    ("embedding", nn.Embedding(7, 3), TOKENS),
    ("functional embedding", lambda x: F.embedding(x, torch.ones(7, 3)), TOKENS),
    ("lstm", nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True), SEQUENCE),
    ("gru", nn.GRU(4, 6), SEQUENCE),
    ("lstm output", lambda x: LSTM(x)[0], SEQUENCE),
    ("lstm last state", lambda x: LSTM(x)[1][0][-1], SEQUENCE),
    ("batch norm", nn.BatchNorm2d(4), IMAGE),
    ("layer norm", nn.LayerNorm([8, 8]), IMAGE),
    ("max pool", nn.MaxPool2d(3, stride=2, ceil_mode=True), IMAGE),
    ("max pool indices", nn.MaxPool2d(2, return_indices=True), IMAGE),
    ("functional max pool", lambda x: F.max_pool2d(x, 2), IMAGE),
    ("average pool", lambda x: F.avg_pool2d(x, 3, 1, 1), IMAGE),
    ("adaptive pool", nn.AdaptiveAvgPool2d((None, 3)), IMAGE),
    ("functional adaptive pool", lambda x: F.adaptive_max_pool2d(x, 1), IMAGE),
    ("upsample", nn.Upsample(scale_factor=2), IMAGE),
    ("interpolate", lambda x: F.interpolate(x, size=(5, 7)), IMAGE),
    ("pixel shuffle", nn.PixelShuffle(2), IMAGE),
    ("pad", lambda x: F.pad(x, (1, 2, 3, 0)), IMAGE),
    ("zero pad", nn.ZeroPad2d(2), IMAGE),
    ("glu", nn.GLU(dim=1), IMAGE),
    ("softmax", lambda x: F.softmax(x, dim=1), ROWS),
    ("view", lambda x: x.view(x.size(0), -1), IMAGE),
    ("reshape", lambda x: x.reshape(2, -1, 4), IMAGE),
    ("reshape tuple", lambda x: torch.reshape(x, (x.shape[0] * 4, 64)), IMAGE),
    ("flatten", nn.Flatten(), IMAGE),
    ("flatten from", lambda x: torch.flatten(x, 2), IMAGE),
    ("unflatten", nn.Unflatten(1, (2, 2)), IMAGE),
    ("permute", lambda x: x.permute(0, 2, 3, 1), IMAGE),
    ("permute tuple", lambda x: x.permute((0, 2, 3, 1)), IMAGE),
    ("transpose", lambda x: x.transpose(-1, 1), IMAGE),
    ("T", lambda x: x.T, ROWS),
    ("mT", lambda x: x.mT, SEQUENCE),
    ("t", lambda x: x.t(), ROWS),
    ("movedim", lambda x: x.movedim(1, -1), IMAGE),
    ("squeeze", lambda x: x[:, :1].squeeze(1), IMAGE),
    ("unsqueeze", lambda x: x.unsqueeze(-1), ROWS),
    ("expand", lambda x: x.unsqueeze(1).expand(-1, 3, -1), ROWS),
    ("repeat", lambda x: x.repeat(2, 1, 3), ROWS),
    ("cat", lambda x: torch.cat([x, x, x], dim=1), IMAGE),
    ("stack", lambda x: torch.stack((x, x), dim=-1), ROWS),
    ("chunk", lambda x: x.chunk(3, dim=1), IMAGE),
    ("split", lambda x: torch.split(x, 3, dim=1), IMAGE),
    ("split sizes", lambda x: x.split([1, 3], dim=1), IMAGE),
    ("unbind", lambda x: x.unbind(1), ROWS),
    ("index", lambda x: x[:, -1], SEQUENCE),
    ("index slice", lambda x: x[1:, :, ::2], SEQUENCE),
    ("index ellipsis", lambda x: x[..., 0], IMAGE),
    ("index none", lambda x: x[:, None], ROWS),
    ("index gather", lambda x: x[torch.tensor([0, 2])], ROWS),
    ("narrow", lambda x: x.narrow(1, 1, 2), ROWS),
    ("index select", lambda x: torch.index_select(x, 1, torch.tensor([0, 3])), ROWS),
    ("topk", lambda x: x.topk(2, dim=1), ROWS),
    ("sort", lambda x: torch.sort(x), ROWS),
    ("matmul", lambda x: x @ x.transpose(1, 2), SEQUENCE),
    ("matmul vector", lambda x: x @ torch.ones(4), SEQUENCE),
    ("bmm", lambda x: torch.bmm(x, x.mT), SEQUENCE),
    ("einsum", lambda x: torch.einsum("bte,bse->bts", x, x), SEQUENCE),
    ("baddbmm", lambda x: torch.baddbmm(torch.ones(5, 5), x, x.mT), SEQUENCE),
    ("attention", lambda x: F.scaled_dot_product_attention(x, x, x), SEQUENCE),
    ("multihead attention", lambda x: ATTENTION(x, x, x)[0], SEQUENCE),
    ("transformer layer", nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), SEQUENCE),
    ("broadcast", lambda x: x + torch.ones(8, 1), IMAGE),
    ("reflected", lambda x: 1.0 - x, ROWS),
    ("integer division", lambda x: x / 2, TOKENS),
    ("compare", lambda x: x > 0, ROWS),
    ("mean", lambda x: x.mean(dim=(2, 3)), IMAGE),
    ("mean keepdim", lambda x: torch.mean(x, 1, keepdim=True), IMAGE),
    ("sum all", lambda x: x.sum(), IMAGE),
    ("max pair", lambda x: x.max(1), ROWS),
    ("max of two", lambda x: torch.max(x, -x), ROWS),
    ("argmax", lambda x: x.argmax(dim=1), ROWS),
    ("norm", lambda x: x.norm(dim=-1, keepdim=True), ROWS),
    ("std", lambda x: x.std(dim=1), ROWS),
    ("logsumexp", lambda x: torch.logsumexp(x, 1), ROWS),
    ("cross entropy", lambda x: F.cross_entropy(x, torch.zeros(6, dtype=torch.long)), ROWS),
    ("zeros like", lambda x: torch.zeros_like(x), ROWS),
    ("new zeros", lambda x: x.new_zeros(3, 2), ROWS),
    ("float", lambda x: x.float(), TOKENS),
    ("long", lambda x: x.long(), ROWS),
    ("sizes", lambda x: x.shape[1] * x.size(0) // 2, ROWS),
]
LSTM = nn.LSTM(4, 6, batch_first=True)
ATTENTION = nn.MultiheadAttention(4, 2, batch_first=True)


@pytest.mark.parametrize(("function", "x"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_rule_gives_the_shape_and_kind_that_torch_gives(
    function: Callable[[Any], Any], x: torch.Tensor
) -> None:
    found, failure = predicted(function, x)
    assert failure is None
    assert found == described(function(x))


MISTAKES: list[tuple[str, Callable[[Any], Any], torch.Tensor, str]] = [
    ("linear", nn.Linear(5, 2), ROWS, "4 features, the layer takes 5"),
    ("channels", nn.Conv2d(3, 2, 1), IMAGE, "4 channels, the layer takes 3"),
    ("rank", nn.Conv2d(4, 2, 1), ROWS, "2 dimensions"),
    ("too small", nn.Conv2d(4, 2, 9), IMAGE, "too small"),
    ("batch norm", nn.BatchNorm2d(3), IMAGE, "4 channels, the layer takes 3"),
    ("layer norm", nn.LayerNorm(5), ROWS, "ends in [4]"),
    ("matmul", lambda x: x @ torch.ones(3, 2), ROWS, "4 and 3 differ"),
    ("view", lambda x: x.view(5, -1), ROWS, "24 elements"),
    ("cat", lambda x: torch.cat([x, x[:, :2]], dim=0), ROWS, "cannot concatenate"),
    ("broadcast", lambda x: x + torch.ones(3), ROWS, "do not broadcast"),
    ("lstm", nn.LSTM(3, 2), SEQUENCE, "4 features, the layer takes 3"),
]


@pytest.mark.parametrize(
    ("function", "x", "text"), [c[1:] for c in MISTAKES], ids=[c[0] for c in MISTAKES]
)
def test_a_rule_fails_only_where_torch_fails(
    function: Callable[[Any], Any], x: torch.Tensor, text: str
) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        function(x)
    _, failure = predicted(function, x)
    assert failure is not None
    assert text in failure.message


SIZES = st.integers(1, 6)


@given(st.lists(SIZES, min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_any_view_is_predicted(sizes: list[int], data: st.DataObject) -> None:
    x = torch.zeros(sizes)
    target = data.draw(st.permutations(sizes))
    if data.draw(st.booleans()):
        target = [*target]
        target[data.draw(st.integers(0, len(target) - 1))] = -1
    found, failure = predicted(operator.methodcaller("view", *target), x)
    assert failure is None
    assert found == described(x.view(*target))


INDICES = st.one_of(
    st.integers(-1, 0),
    st.none(),
    st.just(Ellipsis),
    st.builds(
        slice,
        st.none() | st.integers(-3, 3),
        st.none() | st.integers(-3, 3),
        st.none() | st.integers(1, 2),
    ),
)


@given(st.lists(SIZES, min_size=3, max_size=4), st.lists(INDICES, min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_index_is_predicted(sizes: list[int], index: list[Any]) -> None:
    if sum(part is Ellipsis for part in index) > 1:
        return
    x = torch.zeros(sizes)
    found, failure = predicted(operator.itemgetter(tuple(index)), x)
    assert failure is None
    assert found == described(x[tuple(index)])


@given(
    size=st.integers(1, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    ceil=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_any_window_is_predicted(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool
) -> None:
    x = torch.zeros(1, 1, size, size)
    layers = [nn.Conv2d(1, 1, kernel, stride, padding, dilation)]
    if padding <= kernel // 2:
        layers.append(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil))
    for layer in layers:
        found, failure = predicted(layer, x)
        try:
            expected = described(layer(x))
        except RuntimeError:
            assert failure is not None
        else:
            assert found == expected
