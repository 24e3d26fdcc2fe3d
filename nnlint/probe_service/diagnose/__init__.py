"""From the messages of a probe to what the rules judge, and from the findings back to the static ones."""

from __future__ import annotations

from nnlint.probe_service.diagnose.join import join
from nnlint.probe_service.diagnose.measured import measured

__all__ = ["join", "measured"]
