"""Every exception that nnlint raises on purpose.

::

    NnlintError
    ├── UsageError       a wrong argument or path                    exit code 2
    │   ├── ConfigError  a wrong key or value in pyproject.toml      exit code 2
    │   └── NoModelError paths without any model                     exit code 2
    ├── CaptureError     a training step that cannot be captured     exit code 2
    ├── ServiceError     a probe service could not do a probe        exit code 2
    │   ├── UnreachableError      no connection, or it was lost
    │   ├── UnauthenticatedError  no token, or a wrong one
    │   ├── RefusedError          the service does not run such a graph
    │   ├── BusyError             its queue or its store is full
    │   └── IncompatibleError     it speaks another version
    └── InternalError    a defect of nnlint itself                   exit code 2

What goes wrong inside the linted file is not an exception but a finding (NNL001 to NNL004).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnlint.linter.findings import Location


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


class CaptureError(NnlintError):
    """A training step that cannot be captured as a graph, or whose graph is not faithful.

    Attributes:
        location: The user's line that stands in the way, if known.
    """

    def __init__(self, message: str, *, location: Location | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.location = location


class InternalError(NnlintError):
    """A defect of nnlint: its own worker or protocol failed."""


class ServiceError(NnlintError):
    """A probe service could not do a probe; errors of a probe that ran are in its result."""


class UnreachableError(ServiceError):
    """There is no connection to the service, or it was lost and did not come back."""


class UnauthenticatedError(ServiceError):
    """The service wants a token or a certificate, or another one."""


class RefusedError(ServiceError):
    """The service does not run such a graph, or not with such settings."""


class BusyError(ServiceError):
    """The service has too much to do, or no room, and did not have it in time."""


class IncompatibleError(ServiceError):
    """The service speaks another version, lacks an operator, or has no such device."""
