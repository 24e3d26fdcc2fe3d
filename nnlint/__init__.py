"""Find the neural-network bugs that never raise an error.

>>> import nnlint
>>> report = nnlint.lint(model, loss="cross_entropy")
>>> print(report)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnlint.errors import CaptureError, ConfigError, NnlintError, ServiceError, UsageError
    from nnlint.linter.files import lint_file
    from nnlint.linter.findings import Finding, Location, Report, Severity
    from nnlint.linter.live import lint
    from nnlint.probe_service.live import probe

__version__ = "0.1.0"

__all__ = [
    "CaptureError",
    "ConfigError",
    "Finding",
    "Location",
    "NnlintError",
    "Report",
    "ServiceError",
    "Severity",
    "UsageError",
    "__version__",
    "lint",
    "lint_file",
    "probe",
]

# Resolved on first use, so that the command line starts without any of it.
_HOMES = {
    "CaptureError": "nnlint.errors",
    "ServiceError": "nnlint.errors",
    "ConfigError": "nnlint.errors",
    "NnlintError": "nnlint.errors",
    "UsageError": "nnlint.errors",
    "Finding": "nnlint.linter.findings",
    "Location": "nnlint.linter.findings",
    "Report": "nnlint.linter.findings",
    "Severity": "nnlint.linter.findings",
    "lint": "nnlint.linter.live",
    "lint_file": "nnlint.linter.files",
    "probe": "nnlint.probe_service.live",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'nnlint' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
