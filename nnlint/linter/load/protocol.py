"""What crosses the pipes: a job to the worker, events back to the parent.

A job is pickled: it only ever goes from nnlint to its own child. Events are JSON, one per line,
since the child has run the user's code by then.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, cast

from nnlint.linter.discover.targets import UNKNOWN, Target
from nnlint.linter.settings import ModelSettings

_HEADER = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Job:
    """One file for one worker.

    Attributes:
        path: The file as the user gave it.
        text: Its source, which need not be what is on disk.
        root: Directory of the project, "" for `cwd`.
        cwd: Working directory, which `path` may be relative to.
        targets: The models to build and analyse, in order.
        settings: For each target, what the user says about it.
        rules: Codes of the rules to run.
        timeout: Seconds for the whole file, without its tasks.
        memory_bytes: What the worker may allocate beyond torch itself.
        threads: How many threads torch may use.
        task: "module:function" of what to do with each model after the rules, "" for nothing.
        options: Plain values for the task.
        task_timeout: Seconds for the task of each model.
    """

    path: str
    text: str
    root: str
    cwd: str
    targets: tuple[Target, ...]
    settings: tuple[ModelSettings, ...]
    rules: tuple[str, ...]
    timeout: float
    memory_bytes: int
    threads: int = 1
    task: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    task_timeout: float = 0.0

    @property
    def seconds(self) -> float:
        """The longest that the whole job may take."""
        return self.timeout + (self.task_timeout * len(self.targets) if self.task else 0.0)

    def encode(self) -> bytes:
        """Return the job as one frame."""
        buffer = io.BytesIO()
        _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(self)
        data = buffer.getvalue()
        return _HEADER.pack(len(data)) + data

    @classmethod
    def read(cls, stream: BinaryIO) -> Job | None:
        """Read one frame, None at the end of the stream."""
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        (size,) = _HEADER.unpack(header)
        data = stream.read(size)
        if len(data) < size:
            return None
        return cast("Job", _Unpickler(io.BytesIO(data)).load())


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended.

    Attributes:
        limit: "time" where the keeper or the worker's own timer ended it.
        code: Exit code, or minus the signal's number.
        crash: What faulthandler wrote: the stack at the crash or hang.
        output: The last of what the user's code printed.
        broken: Why no worker could be started at all, "" otherwise.
        cpu: Seconds of processor time that the worker and its children took, where it is known.
    """

    limit: Literal["", "time"] = ""
    code: int = 0
    crash: str = ""
    output: str = ""
    broken: str = ""
    cpu: float = 0.0


def encode_event(event: dict[str, Any]) -> bytes:
    """Return an event as one line."""
    return json.dumps(event, default=_plain).encode() + b"\n"


def decode_event(line: bytes) -> dict[str, Any] | None:
    """Read an event; None for a line that is none, such as one cut off by a kill."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _plain(value: Any) -> Any:
    """Make JSON of a value that a rule put into its evidence: a NumPy or torch number, a set."""
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return item()
    return str(value)


class _Pickler(pickle.Pickler):
    """Keeps `UNKNOWN` the one object that it is on either side."""

    def persistent_id(self, obj: Any) -> str | None:
        return "UNKNOWN" if obj is UNKNOWN else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: str) -> Any:
        return UNKNOWN if pid == "UNKNOWN" else None
