"""Run the command line as `python -m nnlint`."""

from __future__ import annotations

import sys

from nnlint.cli import main

if __name__ == "__main__":
    sys.exit(main())
