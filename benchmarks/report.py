"""How large the HTML report of ResNet-50 is, and how soon it is there.

Usage: python benchmarks/report.py [--model benchmarks/models/resnet50.py] [--steps 20] [--opened 5]

The model is probed on an embedded server, with histograms. The page is then opened in a headless
Chromium from a file, each time in a new tab, and what is measured is the time from the start of the
navigation until every chart is drawn. The exit code says whether the targets are met.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
MEGABYTES, SECONDS = 3.0, 2.0
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def probe(model: str, steps: int, page: Path) -> None:
    """Write the report of a model."""
    command = [sys.executable, "-m", "nnlint", "probe", model, "--steps", str(steps)]
    command += ["--histograms", "--exit-zero", "--quiet", "--html", str(page)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def opened(page: Path, times: int) -> tuple[list[float], int]:
    """Return the seconds until all charts are drawn, and how many marks they have."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        for _ in range(times):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            tab.wait_for_function("document.documentElement.dataset.ready")
            found.append(float(tab.evaluate("document.documentElement.dataset.ready")) / 1000)
            marks = int(tab.evaluate("document.querySelectorAll('.vega svg path').length"))
            tab.close()
        browser.close()
    return found, marks


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="benchmarks/models/resnet50.py")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--opened", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        started = time.monotonic()
        probe(arguments.model, arguments.steps, page)
        print(f"probe: {time.monotonic() - started:.0f} s, {arguments.steps} steps")
        size = page.stat().st_size / 1e6
        seconds, marks = opened(page, arguments.opened)
    median = statistics.median(seconds)
    print(f"size: {size:.2f} MB (at most {MEGABYTES:g})")
    print(
        f"open: {median:.2f} s until {marks} marks are drawn, {min(seconds):.2f} to "
        f"{max(seconds):.2f} in {len(seconds)} tabs (at most {SECONDS:g})"
    )
    return int(size > MEGABYTES or median > SECONDS)


if __name__ == "__main__":
    sys.exit(main())
