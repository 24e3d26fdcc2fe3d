"""Find the neural-network bugs that never raise an error."""

from __future__ import annotations

__version__ = "0.1.0"
