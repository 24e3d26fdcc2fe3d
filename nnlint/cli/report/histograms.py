"""Histograms of the layers, for the page's script to draw where a layer is selected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nnlint.linter.measured import HISTOGRAM_BINS, Histograms, Measured, MeasuredParameter

# Bins are joined by so many: 64 powers of two have no room on a phone.
_JOINED = 2
# The first bin holds what is below this power of two.
_LOWEST = -40


def labels() -> list[str]:
    """Return the least magnitude of each pair of bins, as `Histograms` counts them."""
    pairs = (HISTOGRAM_BINS - 2) // _JOINED
    powers = [f"2^{_JOINED * pair + _LOWEST - 1}" for pair in range(1, pairs)]
    return [f"< 2^{_LOWEST + 1}", *powers, "≥ 2^21", "not finite"]


def histograms(measured: Measured) -> dict[str, dict[str, list[int]]]:
    """Return for each layer's path its counts by magnitude at the last step.

    They are those of its weights ("parameters"), of their gradients, and of its results.
    """
    owned: dict[str, list[MeasuredParameter]] = {}
    for parameter in measured.parameters:
        owned.setdefault(parameter.name.rpartition(".")[0], []).append(parameter)
    results = {node.index: node.activation_histograms for node in measured.nodes}
    found = {}
    for path, own in owned.items():
        nodes = dict.fromkeys(index for parameter in own for index in parameter.nodes)
        told = {
            "parameters": _last(p.histograms for p in own),
            "gradients": _last(p.gradient_histograms for p in own),
            "activations": _last(results.get(index, ()) for index in nodes),
        }
        found[path] = {name: _paired(counts) for name, counts in told.items() if any(counts)}
    return found


def _last(histograms: Iterable[Histograms]) -> list[int]:
    """Return the sum of the last steps' counts."""
    total = [0] * HISTOGRAM_BINS
    for each in histograms:
        for counts in reversed(each):
            if counts:
                total = [a + b for a, b in zip(total, counts, strict=True)]
                break
    return total


def _paired(counts: Sequence[int]) -> list[int]:
    body, ends = counts[:-2], counts[-2:]
    return [sum(body[i : i + _JOINED]) for i in range(0, len(body), _JOINED)] + list(ends)
