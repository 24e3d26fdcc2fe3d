"""Every exception that nnlint raises on purpose.

::

    NnlintError
    ├── UsageError       a wrong argument or path                    exit code 2
    │   ├── ConfigError  a wrong key or value in pyproject.toml      exit code 2
    │   └── NoModelError paths without any model                     exit code 2
    └── InternalError    a defect of nnlint itself                   exit code 2

What goes wrong inside the linted file is not an exception but a finding (NNL001 to NNL004).
"""

from __future__ import annotations


class NnlintError(ValueError):
    """Base of all errors that nnlint raises on purpose.

    Attributes:
        hint: What the user may do about it, or an empty string.
        exit_code: The process exit code that the command line gives for it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(NnlintError):
    """A wrong argument: a path that does not exist, an unknown rule, a malformed shape."""


class ConfigError(UsageError):
    """A wrong key or value in the configuration file."""


class NoModelError(UsageError):
    """The paths hold no model at all."""


class InternalError(NnlintError):
    """A defect of nnlint: its own worker or protocol failed."""
