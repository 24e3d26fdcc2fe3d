"""Linear maps, attention, recurrence, embeddings."""

from __future__ import annotations

from nnlint.linter.operators import shapes
from nnlint.linter.operators.base import Family, operator

LINEAR = operator(
    "linear",
    Family.LINEAR,
    params="input weight bias",
    shape=shapes.linear,
    modules="Linear modules.linear.NonDynamicallyQuantizableLinear LazyLinear",
    functions="F.linear",
    aten="linear",
    learned=True,
)
_CONV = "input weight bias stride padding dilation groups"
CONV1D = operator(
    "conv1d",
    Family.LINEAR,
    params=_CONV,
    shape=shapes.conv,
    modules="Conv1d LazyConv1d",
    functions="F.conv1d torch.conv1d",
    aten="conv1d",
    learned=True,
)
CONV2D = operator(
    "conv2d",
    Family.LINEAR,
    params=_CONV,
    shape=shapes.conv,
    modules="Conv2d LazyConv2d",
    functions="F.conv2d torch.conv2d",
    aten="conv2d",
    learned=True,
)
CONV3D = operator(
    "conv3d",
    Family.LINEAR,
    params=_CONV,
    shape=shapes.conv,
    modules="Conv3d LazyConv3d",
    functions="F.conv3d torch.conv3d",
    aten="conv3d",
    learned=True,
)
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_TRANSPOSED_MODULE = {"module": "input output_size"}
CONV_TRANSPOSE1D = operator(
    "conv_transpose1d",
    Family.LINEAR,
    params=_TRANSPOSED,
    shape=shapes.conv_transpose,
    modules="ConvTranspose1d",
    functions="F.conv_transpose1d torch.conv_transpose1d",
    aten="conv_transpose1d",
    learned=True,
    signatures=_TRANSPOSED_MODULE,
)
CONV_TRANSPOSE2D = operator(
    "conv_transpose2d",
    Family.LINEAR,
    params=_TRANSPOSED,
    shape=shapes.conv_transpose,
    modules="ConvTranspose2d",
    functions="F.conv_transpose2d torch.conv_transpose2d",
    aten="conv_transpose2d",
    learned=True,
    signatures=_TRANSPOSED_MODULE,
)
CONV_TRANSPOSE3D = operator(
    "conv_transpose3d",
    Family.LINEAR,
    params=_TRANSPOSED,
    shape=shapes.conv_transpose,
    modules="ConvTranspose3d",
    functions="F.conv_transpose3d torch.conv_transpose3d",
    aten="conv_transpose3d",
    learned=True,
    signatures=_TRANSPOSED_MODULE,
)
BILINEAR = operator(
    "bilinear",
    Family.LINEAR,
    params="input1 input2 weight bias",
    shape=shapes.unknown,
    modules="Bilinear",
    functions="F.bilinear torch.bilinear",
    aten="bilinear",
    learned=True,
)
CONVOLUTIONS = frozenset({CONV1D, CONV2D, CONV3D})
TRANSPOSED_CONVOLUTIONS = frozenset({CONV_TRANSPOSE1D, CONV_TRANSPOSE2D, CONV_TRANSPOSE3D})
# Operators with a weight matrix of their own, applied to one input.
WEIGHTED = CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | {LINEAR}

MATMUL = operator(
    "matmul",
    Family.LINEAR,
    params="input other",
    shape=shapes.matmul,
    functions="torch.matmul torch.mm torch.bmm torch.dot torch.mv operator.matmul torch.linalg.matmul",
    methods="matmul mm bmm dot mv __matmul__",
    aten="matmul mm bmm dot mv",
)
ADDMM = operator(
    "addmm",
    Family.LINEAR,
    params="input mat1 mat2",
    shape=shapes.addmm,
    functions="torch.addmm torch.baddbmm",
    methods="addmm baddbmm",
    aten="addmm baddbmm",
)
EINSUM = operator(
    "einsum",
    Family.LINEAR,
    params="equation *operands",
    shape=shapes.einsum,
    functions="torch.einsum",
    aten="einsum",
)

_RNN = "input hx"
RNN = operator(
    "rnn",
    Family.RECURRENT,
    params=_RNN,
    shape=shapes.recurrent,
    modules="RNN",
    aten="rnn_tanh rnn_relu",
    learned=True,
)
LSTM = operator(
    "lstm",
    Family.RECURRENT,
    params=_RNN,
    shape=shapes.recurrent,
    modules="LSTM",
    aten="lstm",
    learned=True,
)
GRU = operator(
    "gru",
    Family.RECURRENT,
    params=_RNN,
    shape=shapes.recurrent,
    modules="GRU",
    aten="gru",
    learned=True,
)
RNN_CELL = operator(
    "rnn_cell",
    Family.RECURRENT,
    params=_RNN,
    shape=shapes.unknown,
    modules="RNNCell LSTMCell GRUCell",
    aten="rnn_tanh_cell rnn_relu_cell lstm_cell gru_cell",
    learned=True,
)

ATTENTION = operator(
    "scaled_dot_product_attention",
    Family.ATTENTION,
    params="query key value attn_mask dropout_p is_causal",
    shape=shapes.attention,
    functions="F.scaled_dot_product_attention",
    aten="scaled_dot_product_attention",
)
MULTIHEAD_ATTENTION = operator(
    "multihead_attention",
    Family.ATTENTION,
    params="query key value key_padding_mask need_weights attn_mask",
    shape=shapes.multihead_attention,
    modules="MultiheadAttention",
    functions="F.multi_head_attention_forward",
    learned=True,
)
TRANSFORMER_LAYER = operator(
    "transformer_layer",
    Family.ATTENTION,
    params="input mask",
    shape=shapes.same_float,
    modules="TransformerEncoder TransformerEncoderLayer TransformerDecoder TransformerDecoderLayer",
    learned=True,
)
TRANSFORMER = operator(
    "transformer",
    Family.ATTENTION,
    params="src tgt",
    shape=shapes.unknown,
    modules="Transformer",
    learned=True,
)

EMBEDDING = operator(
    "embedding",
    Family.EMBEDDING,
    params="input weight padding_idx",
    shape=shapes.embedding,
    modules="Embedding",
    functions="F.embedding torch.embedding",
    aten="embedding",
    learned=True,
    signatures={"aten.embedding": "weight input padding_idx"},
)
EMBEDDING_BAG = operator(
    "embedding_bag",
    Family.EMBEDDING,
    params="input weight offsets",
    shape=shapes.unknown,
    modules="EmbeddingBag",
    functions="F.embedding_bag",
    learned=True,
)
