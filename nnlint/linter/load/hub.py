"""Builds the models of transformers without fetching what was trained: by their configuration."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from nnlint.linter.load import standin
from nnlint.linter.replacing import replaced

# Modules of transformers whose functions fetch, each with what to put in their place.
MODULES = (
    "transformers.configuration_utils",
    "transformers.modeling_utils",
    "transformers.tokenization_utils_base",
)

# Arguments that say how to fetch, not what.
_FETCHING = {
    *("cache_dir", "force_download", "proxies", "token", "use_auth_token", "local_files_only"),
    *("revision", "code_revision", "trust_remote_code", "subfolder", "resume_download"),
    *("gguf_file", "_from_pipeline", "_from_auto", "_commit_hash"),
}

Fill = Callable[[Any], None]


def spare(module: ModuleType, stack: contextlib.ExitStack, fill: Fill) -> None:
    """Replace what a module of transformers fetches, until the stack is closed.

    Args:
        module: One of `MODULES`.
        stack: Undoes the replacement.
        fill: Marks a model whose trained weights are not there.
    """
    match module.__name__:
        case "transformers.configuration_utils":
            _replace(
                stack,
                module,
                ("PretrainedConfig", "PreTrainedConfig"),
                "get_config_dict",
                _configuration,
            )
        case "transformers.modeling_utils":
            _replace(stack, module, ("PreTrainedModel",), "from_pretrained", _model(fill))
        case _:
            _replace(stack, module, ("PreTrainedTokenizerBase",), "from_pretrained", _tokenizer)


def _replace(
    stack: contextlib.ExitStack,
    module: ModuleType,
    names: tuple[str, ...],
    method: str,
    instead: Callable[..., Any],
) -> None:
    """Put `instead(original, cls, *args, **kwargs)` in the place of a class method."""
    for owner in dict.fromkeys(getattr(module, name, None) for name in names):
        if owner is None or method not in vars(owner):
            continue
        original = vars(owner)[method].__func__

        stack.enter_context(replaced(owner, method, classmethod(_instead(original, instead))))


def _instead(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(cls: type, *args: Any, **kwargs: Any) -> Any:
        return replacement(functools.partial(original, cls), cls, *args, **kwargs)

    return call


def _configuration(original: Any, cls: type, name: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the defaults of a configuration that would have to be fetched."""
    try:
        return original(name, *args, **kwargs)
    except OSError:
        kind = "" if getattr(cls, "model_type", "") else _kind(str(name))
        left = {key: value for key, value in kwargs.items() if key not in _FETCHING}
        return ({"model_type": kind} if kind else {}), left


def _kind(name: str) -> str:
    """Return the type of model that a name on the hub tells, as transformers guesses it itself."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kinds = sorted(CONFIG_MAPPING.keys(), key=len, reverse=True)
    return next((kind for kind in kinds if kind in name.lower()), "bert")


def _model(fill: Fill) -> Callable[..., Any]:
    def build(original: Any, cls: Any, name: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return a model with the weights of its constructor where those trained are not there."""
        try:
            return original(name, *args, **kwargs)
        except OSError:
            config = kwargs.pop("config", None)
            if not hasattr(config, "to_dict"):
                known = {key: value for key, value in kwargs.items() if key != "torch_dtype"}
                config, _ = cls.config_class.from_pretrained(
                    name, return_unused_kwargs=True, **known
                )
            model = cls(config)
            fill(model)
            return model

    return build


def _tokenizer(original: Any, _: type, name: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return a stand-in for a tokenizer that would have to be fetched."""
    try:
        return original(name, *args, **kwargs)
    except (OSError, ValueError, TypeError):
        return standin.for_value("tokenizer", "needs a tokenizer that would have to be fetched")
