"""Lines on standard error: JSON for machines, or text for people. Never tokens or weights."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import IO, Any

_OWN = frozenset(vars(logging.makeLogRecord({})))
_LONGEST = 4096


class Formatter(logging.Formatter):
    """One line for each record, with what `extra` says."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        extra = {k: v for k, v in vars(record).items() if k not in _OWN and k != "message"}
        fields.update({key: _short(value) for key, value in extra.items() if value != ""})
        if record.exc_info:
            fields["error"] = _short(self.formatException(record.exc_info))
        if self._as_json:
            return json.dumps(fields, ensure_ascii=True)
        rest = " ".join(f"{key}={value}" for key, value in list(fields.items())[3:])
        line = f"{fields['time']} {fields['level']}: {fields['message']} {rest}"
        return line.rstrip().encode("unicode_escape").decode("ascii")


def set_up(log_format: str, stream: IO[str] | None = None) -> None:
    """Write what this package logs to standard error, and warnings of libraries too."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(as_json=log_format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("nnlint").setLevel(logging.INFO)
    # It writes what clients send, as tracebacks; the guard says what matters.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST:
        return "..." + value[-_LONGEST:]
    return value


def _time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
