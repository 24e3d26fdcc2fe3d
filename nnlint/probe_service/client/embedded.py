"""A probe service of the client's own: in a child process, on a Unix socket, gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from nnlint.errors import NnlintError, ServiceError
from nnlint.probe_service.client.address import Address

_HOME = str(Path(__file__).resolve().parents[3])
# For its imports from a cold or remote disk.
_START_SECONDS = 120.0
_END_SECONDS = 10.0
LABEL = "the probe's own server"
# A socket's path is short, and a temporary folder's may be long.
_LONGEST_FOLDER = 70
_LOG_TAIL = 4096


class Embedded:
    """A server for one client, as a context.

    `start` returns at once, so that the server imports torch while the client does other things.
    The server ends when this process does, however that ends, and removes its folder.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._parent: int | None = None
        self._announcement: IO[bytes] | None = None
        self._address: Address | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Start the server unless it has been."""
        if self._process is not None:
            return
        if not hasattr(os, "fork"):
            raise ServiceError(
                "a server can be started on Linux and macOS alone",
                hint="--server names one that runs elsewhere",
            )
        try:
            self._folder = _folder()
        except OSError as error:
            raise ServiceError(
                f"a folder for the probe's own server cannot be made: {error.strerror or error}",
                hint="TMPDIR names a folder that can be written to",
            ) from None
        announced, announce = os.pipe()
        parent, self._parent = os.pipe()
        self._announcement = os.fdopen(announced, "rb")
        call = f"hold({str(self._folder)!r}, {announce}, {parent})"
        code = (
            f"import sys; sys.path.append({_HOME!r}); "
            f"from nnlint.probe_service.client.embedded import hold; sys.exit({call})"
        )
        # Without a name, so that its last words outlive its folder.
        self._log = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={**os.environ, "TMPDIR": str(self._folder)},  # where torch leaves folders
                pass_fds=(announce, parent),
                start_new_session=True,  # an interrupt from the terminal is the client's
            )
        finally:
            os.close(announce)
            os.close(parent)

    def address(self) -> Address:
        """Return where the server listens, once it does.

        Raises:
            ServiceError: It ended instead, or does not start.
        """
        self.start()
        if self._address is None:
            self._address = Address(path=self._announced(), label=LABEL)
        return self._address

    def ended(self) -> str:
        """Return why the server has ended, "" while it runs."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"it ended with code {self._process.returncode}{self._last_words()}"

    def close(self) -> None:
        """End the server and everything that it has started, and remove its folder."""
        for end in (self._announcement, self._parent):
            with contextlib.suppress(OSError):
                if isinstance(end, int):
                    os.close(end)  # what the server takes as the end of its client
                elif end is not None:
                    end.close()
        self._announcement = self._parent = None
        if self._process is not None:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()  # its workers and keepers end with it
                self._process.wait()
        if self._log is not None:
            self._log.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _announced(self) -> str:
        assert self._announcement is not None
        ready, _, _ = select.select([self._announcement], [], [], _START_SECONDS)
        line = self._announcement.readline() if ready else b""
        if line:
            address: str = json.loads(line)["address"]
            return address.removeprefix("unix:")
        if self._process is not None and ready:
            self._process.wait()
        reason = self.ended() or f"it did not start within {_START_SECONDS:g} seconds"
        raise ServiceError(
            f"the server that runs the probe cannot be started: {reason}",
            hint="`nnlint serve` shows why; --server names one that runs",
        )

    def _last_words(self) -> str:
        if self._log is None or self._log.closed:
            return ""
        self._log.seek(max(self._log.seek(0, os.SEEK_END) - _LOG_TAIL, 0))
        text = self._log.read().decode(errors="replace").strip()
        return f": {text.splitlines()[-1][:500]}" if text else ""


def hold(folder: str, announce: int, parent: int) -> int:
    """Serve one client until it ends, then remove the folder; in the child process."""
    from nnlint.probe_service.server.serve import run
    from nnlint.probe_service.server.settings import Settings

    settings = Settings(
        listen=f"unix:{folder}/socket",
        store=Path(folder, "store"),
        announce=announce,
        parent=parent,
        log_format="text",
    )
    try:
        return run(settings)
    except NnlintError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log, whose last line the client shows
        return error.exit_code
    finally:
        # The client does the same; but it may have been killed.
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    default = tempfile.gettempdir()
    parent = default if len(os.fsencode(default)) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108 - mkdtemp is safe there
    return Path(tempfile.mkdtemp(prefix="nnlint-", dir=parent))
