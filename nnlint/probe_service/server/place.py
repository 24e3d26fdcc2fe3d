"""Where the server listens: ports, sockets, certificates."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio

from nnlint.errors import UsageError
from nnlint.probe_service.server.settings import Listen, Tls

_PATIENCE = 1.0


@contextlib.contextmanager
def placed(listen: Listen) -> Iterator[Listen]:
    """Make the address definite; remove its socket file at the end.

    Raises:
        UsageError: Another server has the socket, or its folder cannot be used.
    """
    if not listen.unix:
        yield replace(listen, host=_number_of(listen.host))
        return
    _check_free(listen.path)
    try:
        yield listen
    finally:
        with contextlib.suppress(OSError):
            listen.path.unlink()


def bind(server: grpc.aio.Server, listen: Listen, tls: Tls | None) -> Listen:
    """Bind the address and return it with its real port.

    Raises:
        UsageError: It is taken, or not this machine's.
    """
    mask = os.umask(0o177)  # for a Unix socket: the user's own
    try:
        if tls is None or listen.unix:
            port = server.add_insecure_port(listen.target)
        else:
            port = server.add_secure_port(listen.target, _credentials(tls))
    except RuntimeError as error:
        raise UsageError(
            f"cannot listen on {listen.target}: the address is in use, or not this machine's",
            hint="Another server may be running; give another address with --listen.",
        ) from error
    finally:
        os.umask(mask)
    return listen if listen.unix else replace(listen, port=port)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    authority = tls.client_ca.read_bytes() if tls.client_ca else None
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials(
        [pair], root_certificates=authority, require_client_auth=authority is not None
    )


def _number_of(host: str) -> str:
    """Return one numeric address: of several, gRPC is content when it gets any."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    return str(found[0][4][0])


def _check_free(path: Path) -> None:
    """Check that no server listens there; gRPC itself would replace its socket."""
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the socket")
    if not path.exists():
        return
    if not path.is_socket():
        raise UsageError(f"{path} exists and is no socket")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE)
        probe.connect(str(path))
        raise UsageError(
            f"another server listens on {path}", hint="Give another address with --listen."
        )
