"""Models of transformers are built by their configuration where nothing can be fetched."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from torch import nn

from nnlint.linter.load import weights
from tests import zoo

# Without it, each test would wait for a network that is not there.
NEAR = {"local_files_only": True}


@pytest.fixture(scope="module")
def hub() -> Any:
    zoo.torchvision()  # which transformers imports
    return importlib.import_module("transformers")


def test_a_model_that_cannot_be_fetched_has_the_weights_of_its_constructor(hub: Any) -> None:
    with weights.absent():
        model = hub.DistilBertModel.from_pretrained(
            "nobody/distilbert-x", n_layers=1, dim=48, **NEAR
        )
    assert (model.config.n_layers, model.config.dim) == (1, 48)
    assert all(weights.LOADED in module.__dict__ for module in model.modules())


def test_the_kind_of_a_model_is_read_off_its_name(hub: Any) -> None:
    with weights.absent():
        model = hub.AutoModel.from_pretrained("nobody/roberta-tiny", num_hidden_layers=1, **NEAR)
        config = hub.AutoConfig.from_pretrained("nobody/distilbert-x", **NEAR)
    assert type(model).__name__ == "RobertaModel"
    assert config.model_type == "distilbert"


def test_a_configuration_of_the_users_is_kept(hub: Any) -> None:
    config = hub.BertConfig(num_hidden_layers=1, hidden_size=24, num_attention_heads=2)
    with weights.absent():
        model = hub.BertModel.from_pretrained("nobody/bert-x", config=config, **NEAR)
    assert model.config.hidden_size == 24


def test_a_tokenizer_that_cannot_be_fetched_is_no_hindrance(hub: Any) -> None:
    with weights.absent():
        assert hub.AutoTokenizer.from_pretrained("nobody/distilbert-x", **NEAR) is not None
        assert hub.T5TokenizerFast.from_pretrained("nobody/t5-x", **NEAR) is not None


def test_transformers_is_as_before_afterwards(hub: Any) -> None:
    with weights.absent():
        pass
    with pytest.raises(OSError, match=r"connect|nobody/distilbert-x"):
        hub.DistilBertModel.from_pretrained("nobody/distilbert-x", **NEAR)


def test_modules_of_a_loaded_model_are_marked_one_by_one() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ReLU())
    with weights.absent():
        model.load_state_dict(weights.Weights())
    assert weights.LOADED in model[0][0].__dict__
