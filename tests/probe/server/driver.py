"""Runs a server in a process of its own: `driver.py JSON` with the fields of Settings.

Its address goes to standard output as JSON; it ends with standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nnlint.errors import NnlintError
from nnlint.probe_service.server import serve
from nnlint.probe_service.server.settings import Limits, Settings, Tls


def main() -> int:
    given = json.loads(sys.argv[1])
    if "limits" in given:
        given["limits"] = Limits(**given["limits"])
    if "tls" in given:
        given["tls"] = Tls(**{name: Path(path) for name, path in given["tls"].items()})
    for name in ("tokens", "devices"):
        if name in given:
            given[name] = tuple(given[name])
    given["store"] = Path(given["store"])
    try:
        return serve.run(Settings(announce=1, parent=0, **given))
    except NnlintError as error:
        sys.stderr.write(f"nnlint: error: {error}\nhint: {error.hint}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
