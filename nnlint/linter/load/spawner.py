"""The process that has torch imported and forks a keeper, with its worker, for each job.

Started as `main(descriptor)`; each message on that socket carries the socket of one job. Where
there is no fork, `main_once` does the one job that comes on stdin.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from dataclasses import asdict

from nnlint.linter.load.protocol import Exit, Job, encode_event


def main(descriptor: int) -> None:
    """Serve jobs until the parent closes the socket."""
    control = socket.socket(fileno=descriptor)
    broken = _preload()
    # Collections in a child would touch, and so copy, every page of torch's objects.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        with socket.socket(fileno=descriptors[0]) as connection:
            if broken:
                connection.sendall(encode_event({"event": "exit", **asdict(Exit(broken=broken))}))
            elif os.fork() == 0:
                from nnlint.linter.load import keeper

                control.close()
                keeper.run(connection)


def main_once() -> None:
    """Do the job on stdin, with events on what was stdout and a crash's stack on stderr."""
    job = Job.read(sys.stdin.buffer)
    events, crash = os.dup(1), os.dup(2)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    broken = _preload()
    if broken:
        os.write(events, encode_event({"event": "exit", **asdict(Exit(broken=broken))}))
    elif job is not None:
        from nnlint.linter.load import worker

        worker.run(job, events=events, crash=crash)


def _preload() -> str:
    """Import what every worker needs; return why that failed."""
    try:
        from nnlint.linter.load import worker
        from nnlint.linter.rules.base import all_rules

        del worker
        all_rules()
    except Exception as error:  # noqa: BLE001 - a broken torch raises anything
        return f"{type(error).__name__}: {error}"
    return ""
