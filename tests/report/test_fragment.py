"""What a notebook shows for a report at the end of a cell."""

from __future__ import annotations

import html.parser

from nnlint.linter.findings import Report
from tests.report import made

VOID = {"br"}


class Elements(html.parser.HTMLParser):
    """Collects elements and text, and sees that each is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_notebook_gets_layers_findings_and_verdicts_without_a_script() -> None:
    found = Elements(made.report()._repr_html_())
    text = " ".join(found.texts)
    assert set(found.tags).isdisjoint({"script", "style", "link", "img"})
    assert all(layer in found.texts for layer in made.LAYERS)
    assert "3 of 16 units never fire" in text
    assert "net.py:13" in text
    assert "x = torch.relu(self.stem(x))" in text
    assert "56 samples learned by heart" in text
    assert found.tags.count("tr") == 1 + len(made.LAYERS) + 1


def test_what_the_user_named_is_text() -> None:
    what = made.measured(layers=(made.HOSTILE,), model=made.HOSTILE, device=made.HOSTILE)
    finding = made.finding(message=made.HOSTILE, help=made.HOSTILE, rule=made.HOSTILE)
    found = Elements(made.report(made.probed(what), findings=(finding,))._repr_html_())
    assert set(found.tags).isdisjoint({"script", "img"})
    assert found.texts.count(made.HOSTILE) > 1


def test_a_lint_and_a_probe_that_was_not_made_are_told() -> None:
    assert "no findings" in Report()._repr_html_()
    refused = made.probed(measured=None, status="not-probed", reason="it cannot be captured")
    assert "was not probed: it cannot be captured" in made.report(refused)._repr_html_()


def test_of_very_many_layers_the_first_and_the_last_are_shown() -> None:
    what = made.measured(layers=tuple(f"layer{i}" for i in range(100)))
    found = Elements(made.report(made.probed(what), findings=())._repr_html_())
    assert {"layer0", "layer99"} <= set(found.texts)
    assert "layer50" not in found.texts
    assert "40 more" in found.texts
