"""Operators that move, join, split or select values without changing them."""

from __future__ import annotations

from nnlint.linter.operators import shapes, shapes_moving
from nnlint.linter.operators.base import Family, operator

_S = Family.SHAPE
VIEW = operator(
    "view",
    _S,
    params="input *shape",
    shape=shapes_moving.view,
    functions="torch.reshape",
    methods="view reshape resize",
    aten="view reshape _unsafe_view",
    signatures={"torch.reshape": "input shape"},
)
VIEW_AS = operator(
    "view_as",
    _S,
    params="input other",
    shape=shapes_moving.view_as,
    methods="view_as reshape_as",
    aten="view_as reshape_as",
)
FLATTEN = operator(
    "flatten",
    _S,
    params="input start_dim end_dim",
    shape=shapes_moving.flatten,
    modules="Flatten",
    functions="torch.flatten",
    methods="flatten",
    aten="flatten",
)
RAVEL = operator("ravel", _S, shape=shapes_moving.flatten, functions="torch.ravel", methods="ravel")
UNFLATTEN = operator(
    "unflatten",
    _S,
    params="input dim sizes",
    shape=shapes_moving.unflatten,
    modules="Unflatten",
    functions="torch.unflatten",
    methods="unflatten",
    aten="unflatten",
)
PERMUTE = operator(
    "permute",
    _S,
    params="input *dims",
    shape=shapes_moving.permute,
    functions="torch.permute",
    methods="permute",
    aten="permute",
    signatures={"torch.permute": "input dims"},
)
TRANSPOSE = operator(
    "transpose",
    _S,
    params="input dim0 dim1",
    shape=shapes_moving.transpose,
    functions="torch.transpose torch.swapaxes torch.swapdims",
    methods="transpose swapaxes swapdims",
    aten="transpose",
)
REVERSE_DIMS = operator(
    "t",
    _S,
    shape=shapes_moving.reverse_dims,
    functions="torch.t",
    methods="t .T .H",
    aten="t numpy_T",
)
SWAP_LAST = operator("mT", _S, shape=shapes_moving.swap_last, methods=".mT .mH", aten="mT")
MOVEDIM = operator(
    "movedim",
    _S,
    params="input source destination",
    shape=shapes_moving.movedim,
    functions="torch.movedim",
    methods="movedim",
    aten="movedim",
)
SQUEEZE = operator(
    "squeeze",
    _S,
    params="input dim",
    shape=shapes_moving.squeeze,
    functions="torch.squeeze",
    methods="squeeze",
    aten="squeeze",
)
UNSQUEEZE = operator(
    "unsqueeze",
    _S,
    params="input dim",
    shape=shapes_moving.unsqueeze,
    functions="torch.unsqueeze",
    methods="unsqueeze",
    aten="unsqueeze",
)
EXPAND = operator(
    "expand",
    _S,
    params="input *sizes",
    shape=shapes_moving.expand,
    functions="torch.broadcast_to",
    methods="expand broadcast_to",
    aten="expand",
)
EXPAND_AS = operator(
    "expand_as",
    _S,
    params="input other",
    shape=shapes_moving.expand_as,
    methods="expand_as",
    aten="expand_as",
)
REPEAT = operator(
    "repeat",
    _S,
    params="input *repeats",
    shape=shapes_moving.repeat,
    functions="torch.tile",
    methods="repeat tile",
    aten="repeat",
)
REPEAT_INTERLEAVE = operator(
    "repeat_interleave",
    _S,
    params="input repeats dim",
    shape=shapes.unknown,
    functions="torch.repeat_interleave",
    methods="repeat_interleave",
)
CAT = operator(
    "cat",
    _S,
    params="input dim",
    shape=shapes_moving.cat,
    functions="torch.cat torch.concat torch.concatenate",
    aten="cat concat",
)
STACK = operator(
    "stack",
    _S,
    params="input dim",
    shape=shapes_moving.stack,
    functions="torch.stack",
    aten="stack",
)
SPLIT = operator(
    "split",
    _S,
    params="input split_size dim",
    shape=shapes_moving.split,
    functions="torch.split torch.split_with_sizes",
    methods="split split_with_sizes",
    aten="split split_with_sizes",
)
CHUNK = operator(
    "chunk",
    _S,
    params="input chunks dim",
    shape=shapes_moving.chunk,
    functions="torch.chunk torch.tensor_split",
    methods="chunk tensor_split",
    aten="chunk",
)
UNBIND = operator(
    "unbind",
    _S,
    params="input dim",
    shape=shapes_moving.unbind,
    functions="torch.unbind",
    methods="unbind",
    aten="unbind",
)
GETITEM = operator(
    "getitem",
    _S,
    params="input index",
    shape=shapes_moving.getitem,
    functions="operator.getitem",
    methods="__getitem__",
)
SETITEM = operator(
    "setitem",
    _S,
    params="input index value",
    shape=shapes.same,
    functions="operator.setitem",
    methods="__setitem__",
)
SELECT = operator(
    "select",
    _S,
    params="input dim index",
    shape=shapes_moving.select,
    functions="torch.select",
    methods="select",
    aten="select",
)
SLICE = operator(
    "slice", _S, params="input dim start end step", shape=shapes_moving.slice_, aten="slice"
)
NARROW = operator(
    "narrow",
    _S,
    params="input dim start length",
    shape=shapes_moving.narrow,
    functions="torch.narrow",
    methods="narrow",
    aten="narrow",
)
INDEX_SELECT = operator(
    "index_select",
    _S,
    params="input dim index",
    shape=shapes_moving.index_select,
    functions="torch.index_select",
    methods="index_select",
    aten="index_select",
)
GATHER = operator(
    "gather",
    _S,
    params="input dim index",
    shape=shapes_moving.gather,
    functions="torch.gather",
    methods="gather",
    aten="gather",
)
INDEX = operator("index", _S, params="input indices", shape=shapes.unknown, aten="index")
FLIP = operator(
    "flip",
    _S,
    params="input dims",
    shape=shapes.same,
    functions="torch.flip torch.roll torch.fliplr torch.flipud",
    methods="flip roll",
    aten="flip roll",
)
SCATTER = operator(
    "scatter",
    _S,
    params="input dim index src",
    shape=shapes.same,
    functions="torch.scatter torch.scatter_add torch.index_copy torch.index_add torch.select_scatter torch.slice_scatter",
    methods="scatter scatter_add index_copy index_add index_put index_fill",
    aten="scatter scatter_add index_put index_copy copy",
)
SORT = operator(
    "sort",
    _S,
    params="input dim",
    shape=shapes_moving.pair_with_indices,
    functions="torch.sort",
    methods="sort",
    aten="sort",
)
TOPK = operator(
    "topk",
    _S,
    params="input k dim",
    shape=shapes_moving.topk,
    functions="torch.topk",
    methods="topk",
    aten="topk",
)
TRIL = operator(
    "tril",
    _S,
    params="input diagonal",
    shape=shapes.same,
    functions="torch.tril torch.triu",
    methods="tril triu",
    aten="tril triu",
)
DIAGONAL = operator(
    "diagonal",
    _S,
    shape=shapes.unknown,
    functions="torch.diagonal torch.diag torch.diag_embed",
    methods="diagonal diag diag_embed",
)
MASKED_SELECT = operator(
    "masked_select",
    _S,
    params="input mask",
    shape=shapes.unknown,
    functions="torch.masked_select",
    methods="masked_select",
    aten="masked_select",
)
PACK = operator(
    "pack_padded_sequence",
    _S,
    params="input lengths",
    shape=shapes.unknown,
    functions="torch.nn.utils.rnn.pack_padded_sequence torch.nn.utils.rnn.pad_packed_sequence torch.nn.utils.rnn.pad_sequence torch.nn.utils.rnn.pack_sequence",
)

_P = Family.PASS
IDENTITY = operator(
    "identity",
    _P,
    shape=shapes.same,
    modules="Identity",
    functions="torch.clone",
    methods="clone contiguous requires_grad_",
    aten="clone contiguous alias lift_fresh_copy lift_fresh detach_copy",
)
CAST = operator(
    "to",
    _P,
    params="input dtype",
    shape=shapes.cast,
    methods="to type type_as",
    aten="to _to_copy type_as",
)
FLOAT = operator(
    "float",
    _P,
    shape=shapes.same_float,
    methods="float double half bfloat16 .real",
    functions="torch.real",
)
DEVICE_MOVE = operator("cuda", _P, shape=shapes.same, methods="cuda cpu pin_memory")
CHECKPOINT = operator(
    "checkpoint",
    _P,
    params="function *input",
    shape=shapes.unknown,
    functions="torch.utils.checkpoint.checkpoint",
)

_STOP = Family.STOP
DETACH = operator(
    "detach",
    _STOP,
    shape=shapes.same,
    functions="torch.detach",
    methods="detach .data",
    aten="detach",
)
ITEM = operator(
    "item",
    _STOP,
    shape=shapes.unknown,
    methods="item tolist numpy",
    aten="item _local_scalar_dense",
)
ARGMAX = operator(
    "argmax",
    _STOP,
    params="input dim keepdim",
    shape=shapes_moving.reduce("int"),
    functions="torch.argmax torch.argmin",
    methods="argmax argmin",
    aten="argmax argmin",
)
ROUND = operator(
    "round",
    _STOP,
    shape=shapes.same,
    functions="torch.round torch.floor torch.ceil torch.trunc torch.sign torch.bernoulli torch.multinomial",
    methods="round floor ceil trunc sign bernoulli multinomial",
    aten="round floor ceil trunc sign bernoulli multinomial",
)
TO_INTEGER = operator("long", _STOP, shape=shapes.same_int, methods="long int short byte bool char")
ONE_HOT = operator(
    "one_hot",
    _STOP,
    params="input num_classes",
    shape=shapes.unknown,
    functions="F.one_hot",
    aten="one_hot",
)
