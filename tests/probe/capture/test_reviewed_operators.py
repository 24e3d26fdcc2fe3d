"""The list of operators that servers run: what is on it exists and is harmless, the rest is not."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch

import nnlint.probe_service.operators as package
from nnlint.probe_service.operators import Reviewed, reviewed

DENIED = (
    "aten.from_file.default",
    "aten.save.default",
    "aten.set_.source_Storage",
    "aten.set_.source_Tensor",
    "aten.set_data.default",
    "aten.resize_.default",
    "aten.resize_as_.default",
    "aten.as_strided.default",
    "aten.as_strided_.default",
    "aten.as_strided_scatter.default",
    "aten.empty.memory_format",
    "aten.empty_like.default",
    "aten.empty_strided.default",
    "aten.new_empty.default",
    "aten.sparse_coo_tensor.indices_size",
    "aten._sparse_coo_tensor_unsafe.default",
    "aten._unsafe_index.Tensor",
    "aten._unsafe_index_put.default",
    "aten.segment_reduce.default",
    "aten.ctc_loss.IntList",
    "aten.ctc_loss.Tensor",
    "aten._ctc_loss.default",
    "aten.fractional_max_pool2d.default",
    "aten.native_batch_norm.default",
    "aten.native_group_norm.default",
    "aten._weight_norm_interface.default",
    "aten._thnn_fused_lstm_cell.default",
    "aten.upsample_nearest2d.default",
    "aten.upsample_bilinear2d.default",
    "aten.item.default",
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten._print.default",
    "aten.quantize_per_tensor.default",
    "aten.record_stream.default",
    "aten.lstm.data",
)


def overload(name: str) -> Any:
    _, operator, kind = name.split(".")
    return getattr(getattr(torch.ops.aten, operator), kind)


@pytest.mark.parametrize("entry", reviewed().values(), ids=lambda entry: entry.name)
def test_every_operator_exists_takes_only_known_words_and_says_why_it_is_safe(
    entry: Reviewed,
) -> None:
    schema = overload(entry.name)._schema
    kinds = {argument.name: str(argument.type) for argument in schema.arguments}
    assert len(entry.reason) > 15
    assert not any(
        word in kind for kind in kinds.values() for word in ("Storage", "Stream", "Dict", "Any")
    )
    assert "out" not in kinds, "an out= argument is resized as it may be"
    takes_text = any(kind in {"str", "Optional[str]", "str?"} for kind in kinds.values())
    assert takes_text == bool(entry.words or entry.pattern)
    assert not any("file" in name for name in kinds)


@pytest.mark.parametrize("name", DENIED)
def test_what_could_do_harm_is_not_on_the_list(name: str) -> None:
    assert name not in reviewed()


def test_no_other_namespace_is_on_the_list() -> None:
    assert {name.partition(".")[0] for name in reviewed()} == {"aten"}
    forbidden = ("sparse", "quantiz", "c10d", "_cuda", "unsafe_index", "foreach", "backward")
    assert not [name for name in reviewed() if any(word in name for word in forbidden)]


def test_each_group_is_a_file_that_is_found_by_itself() -> None:
    groups = {info.name for info in pkgutil.iter_modules(package.__path__)} - {"base"}
    assert len(groups) >= 12
    for group in groups:
        module = importlib.import_module(f"{package.__name__}.{group}")
        assert module.__doc__


def test_the_list_imports_no_torch() -> None:
    code = (
        "import sys; from nnlint.probe_service.operators import reviewed; "
        "assert len(reviewed()) > 500; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("aten.pad.default", "reflect", True),
        ("aten.pad.default", "../../etc/passwd", False),
        ("aten.div.Tensor_mode", "floor", True),
        ("aten.einsum.default", "bhid, bhjd -> bhij", True),
        ("aten.einsum.default", "...i,...j->...ij", True),
        ("aten.einsum.default", "i,j->__import__('os')", False),
        ("aten.einsum.default", "i" * 1000, False),
        ("aten.relu.default", "none", False),
        ("aten.gelu.default", "tanh", True),
    ],
)
def test_text_arguments_are_words_of_the_operator(name: str, text: str, *, allowed: bool) -> None:
    assert reviewed()[name].allows(text) is allowed


STATE = (1, 4, 6)


@pytest.mark.parametrize(
    ("name", "given", "wrong"),
    [
        ("aten.gru.input", {"params": [(18, 5), (18, 6)]}, ""),
        ("aten.gru.input", {"params": [(2, 5), (18, 6)]}, "a weight has sizes [2, 5]"),
        ("aten.gru.input", {"params": [(18, 5), (2, 6)]}, "a weight"),
        ("aten.gru.input", {"params": [(18, 5)]}, "params has 1 tensors where 2 are needed"),
        ("aten.gru.input", {"params": [(18, 5), (18, 6)], "num_layers": 50}, "params has"),
        ("aten.gru.input", {"params": [(18, 5), (18, 6)], "num_layers": -1}, "num_layers"),
        ("aten.gru.input", {"params": [(18, 5), (18, 6)], "bidirectional": None}, "bidirectional"),
        ("aten.lstm.input", {"params": [(24, 5), (24, 6)], "hx": [STATE, STATE]}, ""),
        ("aten.lstm.input", {"params": [(24, 5), (24, 6)], "hx": []}, "hx"),
        ("aten.lstm.input", {"params": [(24, 5), (24, 3), (3, 6)], "hx": [(1, 4, 3), STATE]}, ""),
        (
            "aten.lstm.input",
            {
                "params": [(24, 5), (24, 6), (24,), (2,)],
                "hx": [STATE, STATE],
                "has_biases": True,
            },
            "a bias has sizes [[24], [2]]",
        ),
        ("aten.rnn_tanh.input", {"params": [(6, 5), (6, 6)]}, ""),
        ("aten.rnn_relu.input", {"params": [(7, 5), (6, 6)]}, "a weight"),
        ("aten.lstm_cell.default", {"w_ih": (24, 5), "w_hh": (24, 6), "hx": [(3, 6), (3, 6)]}, ""),
        ("aten.gru_cell.default", {"w_ih": (2, 5), "w_hh": (18, 6), "hx": (3, 6)}, "w_ih"),
        ("aten.gru_cell.default", {"w_ih": (18, 5), "w_hh": (18, 6), "hx": (3, 6)}, ""),
        ("aten._weight_norm.default", {"v": (4, 3), "g": (4, 1), "dim": 0}, ""),
        ("aten._weight_norm.default", {"v": (4, 3), "g": (1, 1), "dim": 0}, "g has sizes [1, 1]"),
        ("aten._weight_norm.default", {"v": (4, 3), "g": (4, 1), "dim": 9}, "dim 9"),
    ],
)
def test_shapes_that_an_operator_takes_for_granted_are_checked(
    name: str, given: dict[str, Any], wrong: str
) -> None:
    check = reviewed()[name].check
    assert check is not None
    usual = {"hx": STATE, "num_layers": 1, "has_biases": False, "bidirectional": False}
    found = check({**usual, **given})
    assert wrong in found if wrong else not found


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (torch.nn.LSTM(5, 6, 2, bidirectional=True), (3, 4, 5)),
        (torch.nn.LSTM(5, 6, 2, bidirectional=True, proj_size=3), (3, 4, 5)),
        (torch.nn.LSTM(5, 6, bias=False), (3, 5)),
        (torch.nn.GRU(5, 6, 3), (3, 4, 5)),
        (torch.nn.RNN(5, 6, bias=False, nonlinearity="relu"), (3, 4, 5)),
        (torch.nn.LSTMCell(5, 6), (4, 5)),
        (torch.nn.GRUCell(5, 6, bias=False), (4, 5)),
        (torch.nn.RNNCell(5, 6), (4, 5)),
    ],
    ids=str,
)
def test_the_checks_pass_what_recurrent_layers_really_call(
    module: torch.nn.Module, inputs: tuple[int, ...]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.randn(inputs),), strict=False)
    seen = 0
    for node in program.graph.nodes:
        entry = reviewed().get(str(node.target))
        if entry is not None and entry.check is not None:
            names = [argument.name for argument in node.target._schema.arguments]
            given = dict(zip(names, node.args, strict=False)) | node.kwargs
            shapes = torch.fx.node.map_aggregate(
                given, lambda a: tuple(a.meta["val"].shape) if isinstance(a, torch.fx.Node) else a
            )
            assert entry.check(shapes) == ""
            seen += 1
    assert seen


@pytest.mark.parametrize(
    "call",
    [
        "embedding(torch.randn(3, 4), torch.tensor([10**9]))",
        "gather(torch.randn(3, 4), 1, torch.tensor([[10**9]]))",
        "index_select(torch.randn(3, 4), 1, torch.tensor([-(10**9)]))",
        "index.Tensor(torch.randn(3, 4), [torch.tensor([10**9])])",
        "scatter_add(torch.randn(3, 4), 1, torch.tensor([[-(10**9)]]), torch.randn(1, 1))",
        "index_put_(torch.randn(3, 4), [torch.tensor([10**9])], torch.randn(4), True)",
        "take(torch.randn(3), torch.tensor([10**9]))",
        "cross_entropy_loss(torch.randn(3, 4), torch.tensor([1, 2, 10**9]))",
        "nll_loss_nd(torch.randn(3, 4), torch.tensor([1, -5, 1]))",
        "multi_margin_loss(torch.randn(3, 4), torch.tensor([1, 2, 10**9]))",
        "multilabel_margin_loss(torch.randn(1, 2), torch.tensor([[1, 10**9]]))",
        "max_unpool2d(torch.randn(1, 1, 2, 2), torch.full((1, 1, 2, 2), 10**9), [4, 4])",
        "embedding_bag(torch.randn(3, 4), torch.tensor([10**9]), torch.tensor([0]))",
        "embedding_bag(torch.randn(3, 4), torch.tensor([1]), torch.tensor([0, 10**9]))",
        "native_layer_norm(torch.randn(3, 4), [5], None, None, 1e-5)",
        "layer_norm(torch.randn(3, 4), [4], torch.randn(1))",
        "conv2d(torch.randn(1, 4, 3, 3), torch.randn(4, 1, 2, 2), None, [0, 0])",
        "one_hot(torch.tensor([100]), 3)",
    ],
)
def test_listed_operators_refuse_positions_and_sizes_beyond_their_operands(call: str) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        eval(f"torch.ops.aten.{call}")  # noqa: S307 - a constant of this file
