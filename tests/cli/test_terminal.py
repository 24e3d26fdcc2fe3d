from __future__ import annotations

import os
import subprocess
import sys

import pytest

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

SLOW = """
import sys, time
from nnlint.cli.progress import Progress
with Progress(enabled={enabled}) as progress:
    progress("linting a\\x1bb.py")
    time.sleep({seconds})
"""


def on_terminal(code: str) -> str:
    """Run Python code with its standard error on a terminal and return what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs)
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 4096):
            parts.append(part)
    except OSError:  # what Linux says at the end of a terminal
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    return b"".join(parts).decode()


def test_progress_appears_after_a_second_and_is_erased() -> None:
    text = on_terminal(SLOW.format(enabled=True, seconds=1.6))
    assert "linting a\\x1bb.py (1 s)" in text
    assert text.endswith("\r\x1b[2K")


@pytest.mark.parametrize(("enabled", "seconds"), [(True, 0.1), (False, 1.3)])
def test_quick_and_quiet_runs_show_no_progress(enabled: bool, seconds: float) -> None:
    assert on_terminal(SLOW.format(enabled=enabled, seconds=seconds)) == ""


def test_progress_is_silent_without_a_terminal() -> None:
    code = SLOW.format(enabled=True, seconds=1.3)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_rule_is_laid_out_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = on_terminal("from nnlint.cli import main; main(['rule', 'NNL006'])")
    assert "\x1b[" in text
    assert "## What it does" not in text
    assert "What it does" in text
