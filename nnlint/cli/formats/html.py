"""The report as one HTML page, for people: charts of what was probed, findings with their code."""

from __future__ import annotations

from nnlint.cli.formats import RenderOptions
from nnlint.cli.report import html_of
from nnlint.linter.findings import Report


class HtmlFormat:
    """One page that needs nothing but a browser."""

    name = "html"

    def render(self, report: Report, options: RenderOptions) -> str:  # noqa: ARG002 - the protocol's signature
        """Return the page."""
        return html_of(report)


FORMAT = HtmlFormat()
