"""What a name means."""

from __future__ import annotations

import pytest

from nnlint.linter.load.assume.kinds import Kind, core, kinds_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("num_classes", Kind.CLASSES),
        ("nClasses", Kind.CLASSES),
        ("in_channels", Kind.INPUTS),
        ("inplanes", Kind.INPUTS),
        ("hidden_size", Kind.SIZE),
        ("D_out", Kind.SIZE),
        ("n_layers", Kind.DEPTH),
        ("num_blocks", Kind.DEPTH),
        ("num_block", Kind.DEPTH),
        ("block", Kind.BLOCK),
        ("num_heads", Kind.HEADS),
        ("kernel_size", Kind.KERNEL),
        ("attn_dropout", Kind.RATE),
        ("vocab_size", Kind.VOCABULARY),
        ("num_embeddings", Kind.VOCABULARY),
        ("embeddings", Kind.TENSOR),
        ("loss_fn", Kind.LOSS),
        ("max_seq_len", Kind.LENGTH),
        ("use_bias", Kind.FLAG),
        ("norm_layer", Kind.NORM),
        ("activation", Kind.ACTIVATION),
        ("opt", Kind.OPTIONS),
        ("model_args", Kind.OPTIONS),
        ("word2idx", Kind.TABLE),
        ("adj", Kind.TENSOR),
        ("encoder", Kind.MODULE),
        ("device", Kind.DEVICE),
        ("image_size", Kind.IMAGE),
        ("img_shape", Kind.SHAPE),
        ("pad_idx", Kind.INDEX),
        ("mlp_ratio", Kind.EXPANSION),
    ],
)
def test_the_likeliest_meaning(name, kind):
    assert kinds_of(name)[0] is kind


def test_the_part_of_a_name_that_tells_its_meaning():
    assert [core(name) for name in ("nHidden1", "num_of_tags", "_x2", "n")] == [
        "hidden",
        "tags",
        "x",
        "n",
    ]


def test_a_name_that_nobody_knows():
    assert kinds_of("zyzzyva") == ()
