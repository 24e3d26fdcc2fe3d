"""Recipes are carried out, and what cannot be is assumed."""

from __future__ import annotations

import sys
import types

import pytest
from torch import nn

from nnlint.linter.discover.recipes import (
    Assumed,
    Attribute,
    Called,
    Collected,
    Keyed,
    Named,
    Options,
    Plain,
)
from nnlint.linter.load.assume.choices import Question
from nnlint.linter.load.assume.reading import Reader
from nnlint.linter.load.assume.search import Search
from nnlint.linter.load.recipes import Kitchen

QUESTION = Question("Net(width)", ("width",))


class Part:
    size = 7

    def __init__(self, value=0):
        self.value = value


@pytest.fixture
def search():
    made = Search(Reader(lambda _: False))
    made.begin()
    return made


@pytest.fixture
def kitchen(search):
    module = types.SimpleNamespace(Part=Part)
    return Kitchen({"/net.py": module}.__getitem__, search)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "value"),
    [
        (Plain(3), 3),
        (Named("", "torch.nn.ReLU"), nn.ReLU),
        (Named("", "builtins.int"), int),
        (Named("/net.py", "Part"), Part),
        (Named("/net.py", "Part.size"), 7),
        (Attribute(Named("", "sys"), "maxsize"), sys.maxsize),
        (Collected("tuple", (Plain(1), Plain(2))), (1, 2)),
        (Collected("list", (Plain(1),)), [1]),
        (Collected("set", (Plain(1),)), {1}),
        (Keyed({"a": Collected("list", ())}), {"a": []}),
        (Called(Named("", "builtins.dict"), (), {"b": Plain(2)}), {"b": 2}),
    ],
)
def test_what_the_source_tells(kitchen, search, recipe, value):
    assert kitchen.make(recipe, QUESTION) == value
    assert search.assumed == {}


@pytest.mark.parametrize(
    "recipe",
    [
        Assumed("width"),
        Named("", "no.such.thing"),
        Named("/gone.py", "Part"),
        Attribute(Plain(1), "nothing"),
        Called(Named("", "builtins.int"), (Plain("x"),)),
    ],
)
def test_what_cannot_be_carried_out_is_assumed_and_said(kitchen, search, recipe):
    assert kitchen.make(recipe, QUESTION) == 64
    assert search.assumed == {"Net(width)": "64"}


def test_a_recipe_that_stands_in_two_places_is_carried_out_once(kitchen):
    part = Called(Named("/net.py", "Part"))
    first, second = kitchen.make(Collected("list", (part, part)), QUESTION)
    assert first is second


def test_options_know_what_they_were_told_and_assume_the_rest(kitchen, search):
    recipe = Options("args", {"depth": Plain(5), "part": Called(Named("/net.py", "Part"))})
    options = kitchen.make(recipe, Question("Net(args)", ("args",)))
    assert (options.depth, options["depth"], options.part.value) == (5, 5, 0)
    assert options.hidden_size == 64
    assert search.assumed == {"args.hidden_size": "64"}


def test_arguments_within_a_call_are_asked_for_by_their_parameters(kitchen, search):
    kitchen.make(Called(Named("", "torch.nn.Dropout"), (Assumed("x"),)), QUESTION)
    assert search.assumed == {"Dropout(p)": "0.1"}


def test_a_value_that_is_only_usual_is_tried_first_and_said(kitchen, search):
    assert kitchen.make(Assumed("width", Plain(12)), QUESTION) == 12
    assert search.assumed == {"Net(width)": "12"}


def test_a_collection_may_be_usual_as_well(kitchen):
    usual = Collected("tuple", (Plain(3), Plain(4)))
    assert kitchen.make(Assumed("size", usual), QUESTION) == (3, 4)
