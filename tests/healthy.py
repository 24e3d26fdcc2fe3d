"""Healthy models by others, by name: all of torchvision's, timm's, and small ones of transformers.

`make("timm:resnet18")` builds one with random weights, as its package does.
"""

from __future__ import annotations

import contextlib
import functools
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from tests import zoo

_LARGE = 150_000_000
_LARGE_NAMES = re.compile("large|huge|giant|gigantic|enormous|so400m|xl|_l_|\\d+b_")
KINDS = ("torchvision", "timm", "transformers")

# Sizes of a small configuration, by the names that the configurations of transformers use.
_SMALL: Mapping[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "d_model": 64,
    "dim": 64,
    "n_embd": 64,
    "embed_dim": 32,
    "embedding_size": 32,
    "num_hidden_layers": 2,
    "num_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "intermediate_size": 128,
    "d_ff": 128,
    "d_kv": 16,
    "ffn_dim": 128,
    "hidden_dim": 128,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 64,
    "n_positions": 64,
    "head_dim": 16,
    "image_size": 64,
    "pooler_hidden_size": 64,
    "rotary_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "use_cache": False,
}
# The keys of the package's own lists: what is built for each is the class of that task.
_TRANSFORMERS = {
    "AutoModelForSequenceClassification": (
        *(
            "albert",
            "bert",
            "deberta-v2",
            "distilbert",
            "electra",
            "mpnet",
            "roberta",
            "xlm-roberta",
        ),
    ),
    "AutoModelForMaskedLM": ("bert", "camembert", "convbert", "layoutlm", "mobilebert", "roformer"),
    "AutoModelForCausalLM": (
        *("bloom", "falcon", "gemma", "gpt2", "gpt_neo", "gpt_neox", "gptj", "llama", "mistral"),
        *("opt", "phi", "qwen2", "stablelm", "starcoder2"),
    ),
    "AutoModelForSeq2SeqLM": ("bart", "marian", "mbart", "pegasus", "t5"),
    "AutoModelForImageClassification": (
        *(
            "beit",
            "convnext",
            "convnextv2",
            "dinov2",
            "mobilenet_v2",
            "mobilevit",
            "poolformer",
        ),
        *("pvt", "regnet", "resnet", "segformer", "swin", "vit"),
    ),
    "AutoModelForAudioClassification": ("audio-spectrogram-transformer", "hubert", "wav2vec2"),
}


def names(kind: str, every: int = 1) -> list[str]:
    """Return the names of one kind, each `every`th of them."""
    if kind == "torchvision":
        found = list(zoo.torchvision().models.list_models())
    elif kind == "timm":
        found = list(_timm().list_models())
    else:
        found = [f"{task}/{key}" for task, keys in _TRANSFORMERS.items() for key in keys]
    return [f"{kind}:{name}" for name in found[::every]]


def is_large(name: str) -> bool:
    """Tell whether a model takes long to build; its family has smaller ones."""
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        weights = zoo.torchvision().models.get_model_weights(rest)
        return any(entry.meta.get("num_params", 0) > _LARGE for entry in weights)
    return kind == "timm" and bool(_LARGE_NAMES.search(rest))


def make(name: str) -> nn.Module:
    """Build a model by the name that `names` gives it, in training mode."""
    kind, _, rest = name.partition(":")
    makers: dict[str, Callable[[str], nn.Module]] = {
        "torchvision": _vision,
        "timm": lambda n: _timm().create_model(n, pretrained=False),  # type: ignore[no-any-return]
        "transformers": _transformer,
    }
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return makers[kind](rest).train()


def warm(kind: str) -> None:
    """Import what all models of a kind need, by building one of them."""
    first = {
        "torchvision": "torchvision:resnet18",
        "timm": "timm:resnet18",
        "transformers": "transformers:AutoModelForCausalLM/gpt2",
    }
    make(first[kind])


def _vision(name: str) -> nn.Module:
    options: dict[str, Any] = {"weights": None}
    if name in {"inception_v3", "googlenet", "quantized_inception_v3", "quantized_googlenet"}:
        options["init_weights"] = False  # which takes minutes
    if "rcnn" in name or name.startswith(("fcos", "retinanet")):
        options |= {"min_size": 64, "max_size": 64}  # what images are resized to
    if "rcnn" in name:
        # Parts of an image that are looked at: as they are, minutes on a CPU.
        options |= {"box_batch_size_per_image": 16, "rpn_post_nms_top_n_train": 50}
    if (
        "rcnn" in name
        or "net_res" in name
        or name.startswith(("fcos", "ssd", "deeplab", "lraspp", "fcn"))
    ):
        options["weights_backbone"] = None
    try:
        return zoo.torchvision().models.get_model(name, **options)  # type: ignore[no-any-return]
    except TypeError:
        options.pop("weights_backbone", None)
        return zoo.torchvision().models.get_model(name, **options)  # type: ignore[no-any-return]


@functools.cache
def _timm() -> Any:
    zoo.torchvision()  # which timm imports
    import timm

    return timm


def _transformer(name: str) -> nn.Module:
    zoo.torchvision()  # which transformers imports
    import transformers

    task, _, key = name.partition("/")
    config = transformers.AutoConfig.for_model(key)
    # Configurations that list the size of each stage are small enough, and hang together.
    staged = any(hasattr(config, name) for name in ("depths", "hidden_sizes"))
    for field, value in ({} if staged else _SMALL).items():
        if isinstance(getattr(config, field, None), (int, float)):
            with contextlib.suppress(AttributeError):  # a size that follows from others
                setattr(config, field, value)
    config.num_labels = 3
    return getattr(transformers, task).from_config(config)  # type: ignore[no-any-return]
