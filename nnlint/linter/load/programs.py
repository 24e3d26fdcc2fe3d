"""Keeps a file that is only to be read from starting programs.

A missing package makes some files run `pip install`, others fetch data with `wget` or call `git`.
"""

from __future__ import annotations

import sys
from typing import Any

_EVENTS = frozenset({"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen"})


def forbid() -> None:
    """Make every start of a program in this process raise PermissionError, for good.

    Most callers handle an OSError, since a program may be missing as well. Forks are left alone:
    they run the same code, within the same limits.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS:
        command = args[1] if event == "subprocess.Popen" and len(args) > 1 else args[0]
        words = command if isinstance(command, (str, bytes)) else " ".join(map(str, command or ()))
        text = words.decode(errors="replace") if isinstance(words, bytes) else words
        raise PermissionError(f"nnlint starts no programs for a file that it lints: {text[:80]}")
