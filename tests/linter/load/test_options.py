"""A parser gives its defaults, and typical values for what it requires."""

from __future__ import annotations

import argparse
import sys

import pytest

from nnlint.linter.load import options


@pytest.fixture
def parser(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["net.py"])
    with options.defaults():
        yield argparse.ArgumentParser()


def test_defaults(parser):
    parser.add_argument("--width", type=int, default="3")
    parser.add_argument("--flag", action="store_true")
    parser.add_argument("--plain")
    parser.add_argument("--hidden", default=argparse.SUPPRESS)
    parser.set_defaults(more=5)
    assert vars(parser.parse_args()) == {"width": 3, "flag": False, "plain": None, "more": 5}
    assert parser.parse_known_args()[1] == []


def test_required_values(parser):
    parser.add_argument("data")
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--sizes", type=float, nargs=2, required=True)
    parser.add_argument("--mode", choices=["a", "b"], required=True)
    args = parser.parse_args()
    assert (args.size, args.sizes, args.mode) == (1, [1.0, 1.0], "a")
    assert isinstance(args.data, str)


def test_a_given_line_counts(parser):
    parser.add_argument("--width", type=int, default=3)
    assert parser.parse_args(["--width", "4"]).width == 4
    assert parser.parse_args(["--nonsense"]).width == 3


def test_nothing_ends_the_program(parser):
    parser.add_subparsers(dest="command", required=True).add_parser("train")
    assert parser.parse_args().command is None


def test_parsers_are_as_before_afterwards(parser):
    del parser
    with options.defaults():
        inner = argparse.ArgumentParser.parse_args
    assert argparse.ArgumentParser.parse_args is not None
    assert inner.__name__ == "parse_args"


def test_all_is_undone():
    before = argparse.ArgumentParser.parse_args
    with options.defaults():
        assert argparse.ArgumentParser.parse_args is not before
    assert argparse.ArgumentParser.parse_args is before
