"""What the README shows is what nnlint prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_terminal_capture_is_real() -> None:
    shown = re.search(
        r"```console\n\$ nnlint (\S+)\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL
    )
    assert shown
    found = subprocess.run(
        [sys.executable, "-m", "nnlint", shown[1]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
    )
    assert found.stdout == shown[2]
    assert found.returncode == 1
