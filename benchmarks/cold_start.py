"""Measure a cold `nnlint model.py` against importing torch and building the model.

Prints the ratio of wall times and of peak memory on ResNet-18, pair by pair, and the wall time of
the commands that need no torch. Memory is the proportional set size of the whole process tree,
sampled every 10 ms, and the largest resident set of any one process.

Usage: python benchmarks/cold_start.py [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parent / "models"
BARE = [sys.executable, "-c", "import torch, resnet18; resnet18.Net()"]
LINT = [sys.executable, "-m", "nnlint", "resnet18.py"]
LIGHT = {
    "nnlint --help": [sys.executable, "-m", "nnlint", "--help"],
    "nnlint rule NNL101": [sys.executable, "-m", "nnlint", "rule", "NNL101"],
    "usage error": [sys.executable, "-m", "nnlint", "--no-such-option"],
}
RATIO_BOUND = 1.3
LIGHT_BOUND = 0.2


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall time in seconds, memory in MiB."""

    seconds: float
    tree_mib: float
    largest_mib: float


def measure(command: list[str]) -> Run:
    """Run a command to its end, watching its process tree."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=MODELS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    tree = largest = 0
    while process.poll() is None:
        sizes = [memory(pid) for pid in (process.pid, *descendants(process.pid))]
        tree = max(tree, sum(pss for pss, _ in sizes))
        largest = max([largest, *(rss for _, rss in sizes)])
        time.sleep(0.01)
    return Run(time.perf_counter() - start, tree / 1024, largest / 1024)


def descendants(pid: int) -> list[int]:
    """Return the children of a process and theirs (Linux)."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        return found
    return found + [inner for child in found for inner in descendants(child)]


def memory(pid: int) -> tuple[int, int]:
    """Return proportional and resident set size in KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if ":" in line}
    return values.get("Pss", 0), values.get("Rss", 0)


def wall(command: list[str]) -> float:
    """Return the wall time of a command, undisturbed by any watching."""
    start = time.perf_counter()
    subprocess.run(command, cwd=MODELS, check=False, capture_output=True)
    return time.perf_counter() - start


def main() -> int:
    """Print the figures; the exit code says whether all bounds hold."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    wall(BARE), wall(LINT)  # fills the caches of the file system and of bytecode
    ratios = []
    for _ in range(runs):
        bare, lint = wall(BARE), wall(LINT)
        ratios.append(lint / bare)
        print(f"bare {bare:.2f} s   nnlint {lint:.2f} s   ratio {lint / bare:.2f}")
    ratio = statistics.median(ratios)
    print(f"wall time: median ratio {ratio:.2f} (bound {RATIO_BOUND})")
    bare_run, lint_run = measure(BARE), measure(LINT)
    tree = lint_run.tree_mib / bare_run.tree_mib
    largest = lint_run.largest_mib / bare_run.largest_mib
    print(
        f"peak memory, whole tree: {bare_run.tree_mib:.0f} and {lint_run.tree_mib:.0f} MiB, ratio {tree:.2f}"
    )
    print(
        f"peak memory, one process: {bare_run.largest_mib:.0f} and {lint_run.largest_mib:.0f} MiB, ratio {largest:.2f}"
    )
    good = ratio <= RATIO_BOUND and tree <= RATIO_BOUND
    for name, command in LIGHT.items():
        seconds = statistics.median(wall(command) for _ in range(runs))
        good &= seconds <= LIGHT_BOUND
        print(f"{name}: {seconds:.3f} s (bound {LIGHT_BOUND})")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
