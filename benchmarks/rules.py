"""Measure all rules on ResNet-50, tracing excluded, and their growth up to 100,000 nodes.

The large graphs are copies of ResNet-50's in a row, so that every rule meets real patterns.

Usage: python benchmarks/rules.py
"""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from nnlint.linter.discover import discover
from nnlint.linter.discover.source import Source
from nnlint.linter.engine import model_graph, run_rules
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.live import sites
from nnlint.linter.rules.base import all_rules
from nnlint.linter.settings import ModelSettings
from nnlint.linter.trace.convert import link
from nnlint.linter.trace.positions import UserCode

PATH = Path(__file__).parent / "models" / "resnet50.py"
BOUND_MS = 20.0
SIZES = (1_000, 10_000, 100_000)
# Time per node may grow this much from the smallest to the largest graph before it is not linear.
GROWTH_BOUND = 2.0


def load() -> ModuleType:
    """Import the model's file."""
    spec = importlib.util.spec_from_file_location("resnet50", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resnet50() -> tuple[ModelGraph, float]:
    """Return the graph of ResNet-50 with cross-entropy and the seconds that tracing took."""
    model = load().Net().train()
    text = PATH.read_text()
    source = Source.parse(str(PATH), text)
    (target,) = discover(source)
    start = time.perf_counter()
    graph = model_graph(
        model,
        target=target,
        source=source,
        settings=ModelSettings(),
        code=UserCode(str(PATH), text, ""),
        built_at=sites(model),
        loss="cross_entropy",
    )
    return graph, time.perf_counter() - start


def chained(graph: ModelGraph, size: int) -> ModelGraph:
    """Return copies of a graph in a row, each fed by the one before, with `size` nodes in all."""
    nodes: list[Node] = []
    last: Node | None = None
    copies = max(size // len(graph.nodes), 1)
    for copy in range(copies):
        made: dict[Node, Node] = {}
        for node in graph.nodes:
            inner = node.kind == "output" or node.stitched
            if node.kind == "input" and last is not None:
                made[node] = last
                continue
            if inner and copy < copies - 1:
                continue
            new = dataclasses.replace(
                node,
                index=len(nodes),
                args={key: remade(value, made) for key, value in node.args.items()},
                users=[],
                path=f"{copy}.{node.path}" if node.path else "",
            )
            made[node] = new
            nodes.append(new)
            link(new)
        last = made[graph.outputs[0]]
    return dataclasses.replace(graph, nodes=nodes)


def remade(value: Any, made: dict[Node, Node]) -> Any:
    """Replace nodes by their copies."""
    if isinstance(value, Node):
        return made[value]
    if isinstance(value, (tuple, list)):
        return type(value)(remade(item, made) for item in value)
    return value


def seconds(graph: ModelGraph, runs: int) -> float:
    """Return the median time of all rules."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run_rules(graph, all_rules())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> int:
    """Print the figures; the exit code says whether all bounds hold."""
    graph, traced = resnet50()
    print(f"ResNet-50: {len(graph.nodes)} nodes, traced in {1000 * traced:.0f} ms")
    rules = seconds(graph, 7)
    print(f"all {len(all_rules())} rules: {1000 * rules:.1f} ms (bound {BOUND_MS:.0f})")
    slowest = sorted(((seconds_of(rule, graph), rule.name) for rule in all_rules()), reverse=True)
    for value, name in slowest[:5]:
        print(f"  {1000 * value:6.2f} ms  {name}")
    per_node = []
    for size in SIZES:
        large = chained(graph, size)
        took = seconds(large, 1 if size > SIZES[1] else 3)
        per_node.append(took / len(large.nodes))
        print(f"{len(large.nodes):7d} nodes: {took:6.3f} s, {1e6 * per_node[-1]:.1f} us per node")
    growth = per_node[-1] / per_node[0]
    print(f"time per node grows by {growth:.2f} (bound {GROWTH_BOUND})")
    return 0 if 1000 * rules <= BOUND_MS and growth <= GROWTH_BOUND else 1


def seconds_of(rule: Any, graph: ModelGraph) -> float:
    """Return the time of one rule."""
    start = time.perf_counter()
    run_rules(graph, [rule])
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
