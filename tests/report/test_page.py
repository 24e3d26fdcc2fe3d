"""The report in a real browser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from nnlint.linter.findings import Location
from tests.report import made
from tests.report.conftest import Opened

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHARTS = (
    "gradients",
    "profile",
    "activity",
    "losses",
    "overfit",
    "lr-range",
    "clip-loss",
    "clip-norm",
    "seeds",
)
Open = Callable[..., Opened]


def rows(page: Page) -> list[str]:
    return page.locator("table.layers tbody tr:visible button").all_inner_texts()


def cells(page: Page, chart: str = "gradients") -> int:
    return page.locator(f'[data-chart="{chart}"] svg .mark-rect.role-mark path').count()


def test_the_page_loads_without_errors_and_asks_for_nothing_else(opened: Open) -> None:
    shown = opened(made.report())
    assert shown.said == []
    assert [url.partition("report.html")[1:] for url in shown.requests] == [("report.html", "")]


def test_every_chart_is_drawn(opened: Open) -> None:
    page = opened(made.report()).page
    assert cells(page) == made.STEPS * len(made.LAYERS)
    for chart in CHARTS:
        svg = page.locator(f'[data-chart="{chart}"] svg')
        assert svg.count() == 1, chart
        box = svg.bounding_box()
        assert box is not None
        assert box["width"] > 200, chart
        assert box["height"] > 60, chart
    lines = '[data-chart="profile"] svg .mark-line path'
    assert page.locator(lines).count() == 2  # measured and predicted


def test_suggested_rates_are_named_in_the_curve(opened: Open) -> None:
    text = opened(made.report()).page.locator('[data-chart="lr-range"] svg').text_content() or ""
    assert "steepest 0.01" in text
    assert "valley 0.02" in text
    assert "diverges 0.5" in text


def test_a_search_leaves_the_layers_of_that_name_in_table_and_charts(opened: Open) -> None:
    page = opened(made.report()).page
    page.get_by_label("layer", exact=True).fill("ST")
    page.wait_for_function(
        "n => document.querySelectorAll('[data-chart=gradients] svg .mark-rect.role-mark path').length === n",
        arg=made.STEPS,
    )
    assert rows(page) == ["stem"]
    assert page.locator("#matches").inner_text() == "1 found"
    page.get_by_label("layer", exact=True).fill("no such layer")
    assert rows(page) == []
    assert page.get_by_text("no layer has such a name").is_visible()
    page.get_by_label("layer", exact=True).fill("")
    page.wait_for_function(
        "n => document.querySelectorAll('[data-chart=gradients] svg .mark-rect.role-mark path').length === n",
        arg=made.STEPS * len(made.LAYERS),
    )
    assert rows(page) == list(made.LAYERS)


def test_a_click_in_a_chart_selects_the_layer_everywhere(opened: Open) -> None:
    page = opened(made.report()).page
    outlined = "[data-chart=gradients] svg .mark-rect.role-mark path[stroke-width='2']"
    assert page.locator(outlined).count() == 0
    page.locator('[data-chart="gradients"] svg .mark-rect.role-mark path').nth(made.STEPS).click()
    chosen = page.get_by_role("region", name="Selected layer")
    chosen.get_by_role("heading", name="body").wait_for()
    assert page.locator("tr.selected button").inner_text() == "body"
    assert page.locator("tr.selected button").get_attribute("aria-pressed") == "true"
    page.wait_for_function("s => document.querySelectorAll(s).length > 0", arg=outlined)
    assert page.locator(outlined).count() == made.STEPS
    text = chosen.inner_text()
    assert "predicted at step 1" in text
    assert "net.py:14" in text  # where it is called
    assert "self.body = nn.Linear(16, 16)" in text  # where it is built


def test_a_click_in_the_table_shows_numbers_findings_and_histograms(opened: Open) -> None:
    page = opened(made.report()).page
    page.get_by_role("button", name="stem").click()
    chosen = page.get_by_role("region", name="Selected layer")
    chosen.locator("svg .mark-line path").first.wait_for()
    assert chosen.locator("svg .mark-line path").count() == 3
    assert "3 of 16 units never fire" in chosen.inner_text()
    page.get_by_role("button", name="stem").click()
    chosen.get_by_text("Select a layer").wait_for()


def test_the_keyboard_alone_finds_and_selects_a_layer(opened: Open) -> None:
    page = opened(made.report()).page
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "search":
            break
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("e")  # stem and head
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "stem"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "head"
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Selected layer").get_by_role("heading", name="head").wait_for()
    page.get_by_role("button", name="dark").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


BRIGHT = """() => {
    const label = document.querySelector('[data-chart=losses] svg .role-axis-label text');
    const bright = color => color.match(/\\d+/g).slice(0, 3).every(part => Number(part) > 140);
    return label && [
        bright(getComputedStyle(document.body).backgroundColor),
        bright(getComputedStyle(label).fill),
    ];
}"""
# Whether the page's background and the text of a chart are bright.
LIGHT, DARK = [True, False], [False, True]


@pytest.mark.parametrize(
    ("scheme", "first", "second"), [("light", LIGHT, DARK), ("dark", DARK, LIGHT)]
)
def test_page_and_charts_follow_the_system_and_the_switch(
    opened: Open, scheme: str, first: list[bool], second: list[bool]
) -> None:
    page = opened(made.report(), scheme=scheme).page
    assert page.evaluate(BRIGHT) == first
    page.get_by_role("button", name="dark").click()
    page.wait_for_function(f"wanted => String(({BRIGHT})()) === String(wanted)", arg=second)
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    page.get_by_role("button", name="dark").click()
    page.wait_for_function(f"wanted => String(({BRIGHT})()) === String(wanted)", arg=first)


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_wider_than_a_small_screen(opened: Open, width: int) -> None:
    long = ".".join(["a_block_with_a_long_name"] * 5)
    what = made.measured(layers=(long, "body", f"{long}.last"))
    shown = opened(made.report(made.probed(what)), width=width)
    page = shown.page
    page.locator("table.layers button").first.click()
    page.get_by_role("region", name="Selected layer").get_by_role("heading").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(e =>
            e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .code, svg')
        ).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    assert page.locator('[data-chart="gradients"] svg').bounding_box()["width"] <= width  # type: ignore[index]


def test_names_and_code_of_the_user_are_text_wherever_they_stand(opened: Open) -> None:
    name = made.HOSTILE
    what = made.measured(
        layers=(name, "body"), model=name, loss=name, device=name, location=Location(name, 5)
    )
    finding = made.finding(
        message=name,
        help=name,
        model=name,
        modules=(name,),
        rule=name,
        location=Location(name, 1),
        evidence={"probe": {"verdict": "confirmed", "message": name}},
    )
    whole = made.report(
        made.probed(what, path=name, notes=(name,), server=name), findings=(finding,)
    )
    whole.sources[name] = f"{name}\n" * 9  # type: ignore[index]
    shown = opened(whole)
    page = shown.page
    page.locator("table.layers button").first.click()
    page.get_by_role("region", name="Selected layer").get_by_role("heading").wait_for()
    page.locator('[data-chart="gradients"] svg .mark-rect.role-mark path').first.hover()
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert shown.said == []
    assert len(shown.requests) == 1
    assert page.title().endswith("nnlint report")
    assert page.evaluate("document.images.length") == 0
    assert page.evaluate("document.scripts.length") == 3
    assert page.locator("h2").first.inner_text() == name


def test_layers_stand_in_their_order_whatever_their_gradients_are(opened: Open) -> None:
    what = made.with_gradients("stem", (0.0,) * made.STEPS)
    page = opened(made.report(made.probed(what))).page
    labels = page.locator('[data-chart="gradients"] svg .role-axis-label').last.locator("text")
    assert labels.all_text_contents() == list(made.LAYERS)
    assert cells(page) == made.STEPS * len(made.LAYERS)


def test_numbers_that_are_none_are_named(opened: Open) -> None:
    what = made.with_gradients("body", (math.nan, math.inf, 0.0, None))
    page = opened(made.report(made.probed(what))).page
    words = page.locator(
        '[data-chart="gradients"] svg .mark-text.role-mark text'
    ).all_text_contents()
    assert [word for word in words if word] == ["NaN", "inf", "0", "none"]
    losses = page.locator(
        '[data-chart="clip-loss"] svg .mark-text.role-mark text'
    ).all_text_contents()
    assert [word for word in losses if word] == ["inf", "NaN"]


def test_very_many_layers_are_drawn_as_pixels_and_selected_as_well(opened: Open) -> None:
    what = made.measured(layers=tuple(f"layer{i}" for i in range(1001)))
    shown = opened(made.report(made.probed(what)))
    page = shown.page
    canvas = page.locator('[data-chart="gradients"] canvas')
    assert canvas.count() == 1
    page.get_by_label("layer", exact=True).fill("layer777")
    page.wait_for_function("document.querySelector('[data-chart=gradients] canvas').height < 200")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] / 2, "y": box["height"] - 45})
    chosen = page.get_by_role("region", name="Selected layer")
    chosen.get_by_role("heading", name="layer777").wait_for()
    assert shown.said == []


def test_a_model_further_down_is_drawn_when_it_is_opened(opened: Open) -> None:
    second = made.measured(model="Other")
    shown = opened(made.report(made.probed(), made.probed(second)))
    page = shown.page
    other = page.locator("details.model").nth(1)
    assert other.locator("svg").count() == 0
    other.locator("summary").click()
    other.locator('[data-chart="gradients"] svg .mark-rect.role-mark path').first.wait_for()
    other.get_by_role("button", name="head").click()
    assert page.locator("tr.selected").count() == 1
    assert shown.said == []
