"""How a server is set up: plain data, checked before anything starts. Imports no grpc."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nnlint.errors import UsageError

DEFAULT_LISTEN = "127.0.0.1:7478"
SHORTEST_TOKEN = 16
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted of a client.

    Attributes:
        message_bytes: Size of one gRPC message.
        blob_bytes: Size of one blob.
        graph_bytes: Size of a serialised graph.
        nodes: Operations in a graph.
        elements: Elements of one tensor.
        steps: Optimiser steps of a probe, over all its experiments.
        samples: Samples over which the activity of units is judged.
        seconds: Time that a probe may run.
        queue_seconds: Time that a probe may wait.
        digests: Digests in one FindMissingBlobs.
        keep_alive_seconds: Time that a probe may live on without a client.
    """

    message_bytes: int = 4 << 20
    blob_bytes: int = 8 * _GIB
    graph_bytes: int = 4 << 20
    nodes: int = 20_000
    elements: int = 1 << 31
    steps: int = 10_000
    samples: int = 65_536
    seconds: float = 600.0
    queue_seconds: float = 1800.0
    digests: int = 20_000
    keep_alive_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM format.

    Attributes:
        certificate: The server's chain.
        key: Its private key.
        client_ca: Authority whose certificates clients have to show; None asks for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is set up.

    Attributes:
        listen: "host:port" or "unix:PATH".
        store: Folder of the blobs; None for the user's cache folder.
        store_bytes: Space that blobs may take.
        tokens: Any one of them admits a client; empty admits everybody.
        tls: None for plain text.
        metrics: "host:port" on a loopback address for Prometheus; empty for none.
        reflection: Whether clients may ask for the protocol.
        limits: What is accepted of a client.
        queue: Probes that may wait for each kind of device.
        devices: "auto", "cpu", "cuda" or "cuda:N"; auto is every CUDA device and the CPU.
        threads: Threads of a probe on the CPU.
        memory_bytes: Memory of a probe on the CPU; 0 for four fifths of the machine's.
        grace: Seconds that running probes get when the server is told to stop.
        log_format: Of the lines on standard error.
        announce: Descriptor that gets one JSON line with the address once the server listens.
        parent: Descriptor whose end means that the parent has gone, and the server is to go.
        executor: "module:function" that does a probe in the worker.
    """

    listen: str = DEFAULT_LISTEN
    store: Path | None = None
    store_bytes: int = 20 * _GIB
    tokens: tuple[str, ...] = field(default=(), repr=False)
    tls: Tls | None = None
    metrics: str = ""
    reflection: bool = False
    limits: Limits = field(default_factory=Limits)
    queue: int = 32
    devices: tuple[str, ...] = ("auto",)
    threads: int = 0
    memory_bytes: int = 0
    grace: float = 30.0
    log_format: Literal["json", "text"] = "json"
    announce: int | None = None
    parent: int | None = None
    executor: str = "nnlint.probe_service.replay.run:execute"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server listens.

    Attributes:
        host: Name or number; empty for a Unix socket.
        port: 0 for any that is free.
        path: Of the Unix socket.
    """

    host: str = ""
    port: int = 0
    path: Path = Path()

    @property
    def unix(self) -> bool:
        """Whether it is a Unix socket."""
        return not self.host

    @property
    def target(self) -> str:
        """What gRPC takes."""
        if self.unix:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.unix or _is_loopback(self.host)


def parse_listen(text: str) -> Listen:
    """Return the address that `--listen` gives.

    Raises:
        UsageError: It is none.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise UsageError(f"{text} names no socket", hint="Give unix:PATH.")
        if len(os.fsencode(path)) > 100:
            raise UsageError(
                f"the path of the socket is longer than 100 bytes: {path}",
                hint="Operating systems cut longer ones off; choose a shorter path.",
            )
        return Listen(path=Path(path).absolute())
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(
            f"not an address to listen on: {text}",
            hint="Give host:port, for example 127.0.0.1:7478, or unix:PATH.",
        )
    return Listen(host, int(port))


def check(settings: Settings) -> Listen:
    """Check what can be wrong before anything is started; return where to listen.

    Raises:
        UsageError: Something is.
    """
    listen = parse_listen(settings.listen)
    for token in settings.tokens:
        word = token.isascii() and token.isprintable() and " " not in token
        if len(token) < SHORTEST_TOKEN or not word:
            raise UsageError(
                f"a token is one word of at least {SHORTEST_TOKEN} ASCII characters",
                hint="`openssl rand -hex 32` makes a good one.",
            )
    if settings.tls is not None:
        _check_tls(settings.tls)
    known = bool(settings.tokens or (settings.tls and settings.tls.client_ca))
    if not listen.loopback and not (settings.tls and known):
        wanting = " and ".join(
            [
                *([] if settings.tls else ["TLS (--tls-cert and --tls-key)"]),
                *([] if known else ["a token (--token-file or NNLINT_TOKEN)"]),
            ]
        )
        raise UsageError(
            f"{listen.target} can be reached from the network: this needs {wanting}",
            hint="Or listen on 127.0.0.1 and let clients come in with `ssh -L 7478:127.0.0.1:7478`.",
        )
    if settings.metrics and not parse_listen(settings.metrics).loopback:
        raise UsageError(
            f"--metrics {settings.metrics} can be reached from the network",
            hint="Metrics are plain text without a token: give a port on 127.0.0.1.",
        )
    for device in settings.devices:
        kind, _, number = device.partition(":")
        plain = kind in {"auto", "cpu", "cuda"} and device == kind
        if not plain and not (kind == "cuda" and number.isascii() and number.isdigit()):
            raise UsageError(f"unknown device {device}", hint="Give auto, cpu, cuda or cuda:0.")
    return listen


def read_tokens(path: Path | None, environment: str | None) -> tuple[str, ...]:
    """Return the tokens of a file, one a line, or else that of NNLINT_TOKEN.

    Raises:
        UsageError: The file cannot be read, or holds none.
    """
    if path is None:
        return (environment,) if environment else ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file {path} cannot be read") from error
    tokens = tuple(
        line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")
    )
    if not tokens:
        raise UsageError(
            f"the token file {path} holds no token", hint="`openssl rand -hex 32` makes a good one."
        )
    return tokens


def default_store() -> Path:
    """Return the folder of blobs in the user's cache folder."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        given = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "nnlint" / "probe-store"


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the host {host} is not known") from error
    return all(
        ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found
    )


def _check_tls(tls: Tls) -> None:
    for path in (tls.certificate, tls.key, *([tls.client_ca] if tls.client_ca else [])):
        if not os.access(path, os.R_OK):
            raise UsageError(f"{path} cannot be read")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"{tls.certificate} and {tls.key} are no certificate with its private key",
            hint="Both are PEM files; the key must not be encrypted.",
        ) from error
    if tls.client_ca:
        try:
            context.load_verify_locations(tls.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"{tls.client_ca} is no certificate in PEM format") from error
