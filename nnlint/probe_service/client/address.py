"""Where a probe service is, and what makes the way to it safe."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from nnlint.errors import UsageError

DEFAULT_PORT = 7478
TOKEN_VARIABLE = "NNLINT_TOKEN"  # noqa: S105 - the name of a variable, no secret
_UNIX = "unix:"
# What the platforms' socket structure holds, with its final zero.
_LONGEST_SOCKET_PATH = 103
_LONGEST_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Tls:
    """What encrypts a connection, each as PEM.

    Attributes:
        authorities: Certificates that the server's must be signed by; None for the system's.
        certificate: The client's own certificate chain, for servers that ask for one.
        key: The private key of that certificate.
    """

    authorities: bytes | None = None
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """One probe service.

    Attributes:
        host: Name or number of the machine, "" for a Unix socket.
        port: TCP port, 0 for a Unix socket.
        path: The Unix socket, "" for TCP.
        token: What proves that the client may probe, "" for none.
        tls: None for plain text, which is for this machine alone.
        label: What it is called in messages, "" for the address itself.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    token: str = field(default="", repr=False)
    tls: Tls | None = None
    label: str = ""

    def __post_init__(self) -> None:
        assert self.local or self.tls is not None, "plain text leaves this machine"

    def __str__(self) -> str:
        if self.label:
            return self.label
        return f"{_UNIX}{self.path}" if self.path else self._host_and_port

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return f"{_UNIX}{self.path}" if self.path else f"dns:///{self._host_and_port}"

    @property
    def _host_and_port(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether nothing that is sent there leaves this machine."""
        return bool(self.path) or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by what is written alone: no name is looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(
    text: str,
    *,
    token_file: str = "",
    tls: bool = False,
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
) -> Address:
    """Read what `--server` and the options beside it say.

    Args:
        text: "host", "host:port", "[::1]:port" or "unix:PATH".
        token_file: File with the token; the environment's NNLINT_TOKEN without it.
        tls: Whether to encrypt; the options below ask for it as well.
        tls_ca: File with the certificates that the server's must be signed by; the system's
            without it.
        tls_cert: File with the client's certificate.
        tls_key: File with its key.

    Raises:
        UsageError: The address is malformed, a file cannot be read, or the connection would
            leave this machine in plain text.
    """
    if bool(tls_cert) != bool(tls_key):
        given, other = ("--tls-cert", "--tls-key") if tls_cert else ("--tls-key", "--tls-cert")
        raise UsageError(f"{given} goes with {other}")
    encrypted = tls or bool(tls_ca or tls_cert)
    token = _token(token_file)
    if text.startswith(_UNIX):
        if encrypted:
            raise UsageError("a Unix socket is not encrypted", hint="leave the --tls options out")
        return Address(path=_socket_path(text), token=token)
    host, port = _host_and_port(text)
    if not encrypted and not is_loopback(host):
        shown = f"[{host}]" if ":" in host else host
        raise UsageError(
            f"{shown} is another machine, and the connection to it would not be encrypted",
            hint="--tls-ca FILE names the authority that signed the server's certificate (--tls "
            f"where that is a public one); or go through ssh: ssh -NL {port}:localhost:{port} "
            f"{host}, then --server localhost:{port}",
        )
    if not encrypted:
        return Address(host, port, token=token)
    secrets = Tls(
        _pem(tls_ca, "--tls-ca", "CERTIFICATE"),
        _pem(tls_cert, "--tls-cert", "CERTIFICATE"),
        _pem(tls_key, "--tls-key", "PRIVATE KEY"),
    )
    return Address(host, port, token=token, tls=secrets)


def _socket_path(text: str) -> str:
    path = text.removeprefix(_UNIX)
    if path.startswith("//"):  # unix:///run/nnlint.sock
        path = path.removeprefix("//")
    if not path:
        raise UsageError("--server unix: names no socket", hint="unix:/run/nnlint/probe.sock")
    path = os.path.abspath(path)  # noqa: PTH100 - as it is written, without following links
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise UsageError(f"the path of a socket is at most {_LONGEST_SOCKET_PATH} bytes: {path}")
    return path


def _host_and_port(text: str) -> tuple[str, int]:
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise _malformed(text)
        port = rest[1:]
        if rest == ":" or not _is_version_6(host):
            raise _malformed(text)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise _malformed(text)
    elif ":" in text and not _is_version_6(text):
        raise _malformed(text)
    if not host or not all(c.isalnum() or c in ".-_:%" for c in host):
        raise _malformed(text)
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise UsageError(f"{port!r} is no port: 1 to 65535", hint=f"{host}:{DEFAULT_PORT}")
    return host, int(port or DEFAULT_PORT)


def _is_version_6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _malformed(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is no address of a probe service",
        hint=f"gpu-box:{DEFAULT_PORT}, [::1]:{DEFAULT_PORT}, or unix:/run/nnlint/probe.sock",
    )


def _token(file: str) -> str:
    origin = file or f"${TOKEN_VARIABLE}"
    text = (
        _read(file, "--token-file").decode("utf-8", "replace")
        if file
        else os.environ.get(TOKEN_VARIABLE, "")
    ).strip()
    if file and not text:
        raise UsageError(f"{file} holds no token")
    if not (text.isascii() and all(c.isprintable() and c != " " for c in text)):
        raise UsageError(f"{origin} holds no token: a token is one word of ASCII characters")
    if len(text) > _LONGEST_TOKEN:
        raise UsageError(f"{origin} holds no token: it is longer than {_LONGEST_TOKEN} characters")
    return text


def _pem(path: str, option: str, kind: str) -> bytes | None:
    if not path:
        return None
    content = _read(path, option)
    if f"{kind}-----".encode() not in content:
        raise UsageError(f"{option}: {path} holds no {kind.lower()} in PEM form")
    return content


def _read(path: str, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be read: {error.strerror or error}") from None
