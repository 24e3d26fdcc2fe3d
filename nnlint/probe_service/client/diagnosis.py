"""Why a connection fails, found by trying it without gRPC, whose words for it vary.

Plain text to a TLS port, TLS to a plain port, an expired certificate and a closed port are all
UNAVAILABLE to gRPC; the user has to do something else about each of them.
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nnlint.probe_service.client.address import Address, Tls

_SECONDS = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_TLS_ALERT = b"\x15\x03"
_FRAME_HEADER = 9
_SETTINGS = 4
_WANTS_CERTIFICATE = (
    "wants a certificate of the client",
    "--tls-cert FILE --tls-key FILE name it",
)
_CLIENT_CERTIFICATE = (
    "is --tls-cert signed by an authority that the server trusts, and still valid?"
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a connection.

    Attributes:
        message: A clause that follows the address.
        hint: What to do.
        lasting: Whether trying again is of no use.
    """

    message: str
    hint: str = ""
    lasting: bool = False


def diagnose(address: Address) -> Diagnosis | None:
    """Connect once, within seconds, and say what fails; None where nothing does."""
    try:
        return _plain(address) if address.tls is None else _encrypted(address, address.tls)
    except TimeoutError:
        return Diagnosis("does not answer", _firewall(address))
    except ConnectionRefusedError:
        return Diagnosis("refuses the connection: no server listens there", _start(address))
    except FileNotFoundError:
        return Diagnosis("does not exist: no server has made it", _start(address))
    except PermissionError:
        return Diagnosis("is not yours to open", "its owner or root may widen its permissions")
    except socket.gaierror as error:
        return Diagnosis(f"is no known host ({error.strerror})", "is its name spelt right?", True)  # noqa: FBT003 - lasting
    except (ConnectionResetError, BrokenPipeError, EOFError):
        return Diagnosis("closes the connection", "is it a probe service that listens there?")
    except OSError as error:
        return Diagnosis(f"cannot be reached ({error.strerror or error})", _firewall(address))


def _connected(address: Address) -> socket.socket:
    """Return a connection whose operations end within seconds."""
    if not address.path:
        return socket.create_connection((address.host, address.port), _SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_SECONDS)
        connection.connect(address.path)
    except BaseException:
        connection.close()
        raise
    return connection


def _start(address: Address) -> str:
    where = "" if address.local else f" on {address.host}"
    return f"start one{where} with `nnlint serve`"


def _firewall(address: Address) -> str:
    return f"does `nnlint serve` run there, and does a firewall let port {address.port} through?"


def _plain(address: Address) -> Diagnosis | None:
    with _connected(address) as connection:
        try:
            connection.sendall(_PREFACE)
            answer = _answer(connection)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    if _is_http2(answer):
        return None
    if answer.startswith(_TLS_ALERT) or (not answer and _speaks_tls(address)):
        return Diagnosis(
            "speaks TLS, and it was spoken to in plain text",
            "--tls-ca FILE names the authority that signed its certificate",
            lasting=True,
        )
    if not answer:
        return Diagnosis("closes the connection", "is it a probe service that listens there?")
    return Diagnosis("is no gRPC server", "is the port right?", lasting=True)


def _speaks_tls(address: Address) -> bool:
    """Return whether a server takes a TLS greeting; nothing is sent, so nothing is verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            _connected(address) as connection,
            context.wrap_socket(connection, server_hostname=address.host or None) as wrapped,
        ):
            return wrapped.version() is not None
    except (OSError, ValueError):
        return False


def _encrypted(address: Address, tls: Tls) -> Diagnosis | None:
    try:
        context = _context(tls)
    except ssl.SSLError as error:
        return Diagnosis(
            f"was not asked: the certificates or the key are unusable ({_reason(error)})",
            "do --tls-cert and --tls-key belong together, and is --tls-ca a certificate?",
            lasting=True,
        )
    try:
        with (
            _connected(address) as connection,
            context.wrap_socket(connection, server_hostname=address.host) as wrapped,
        ):
            if wrapped.selected_alpn_protocol() != "h2":
                return Diagnosis("is no gRPC server", "is the port right?", lasting=True)
            # With TLS 1.3 a server refuses a client's certificate, or the lack of it, only now.
            try:
                wrapped.sendall(_PREFACE)
                answer = _answer(wrapped)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                answer = b""
    except ssl.SSLCertVerificationError as error:
        return _certificate(error, address, tls)
    except ssl.SSLError as error:
        return _handshake(error, address)
    if _is_http2(answer):
        return None
    if tls.certificate is None:
        return Diagnosis(*_WANTS_CERTIFICATE, lasting=True)
    return Diagnosis(
        "closes the connection after the client has shown its certificate", _CLIENT_CERTIFICATE
    )


def _context(tls: Tls) -> ssl.SSLContext:
    authorities = None if tls.authorities is None else tls.authorities.decode("ascii", "ignore")
    context = ssl.create_default_context(cadata=authorities)
    context.set_alpn_protocols(["h2"])
    if tls.certificate is not None and tls.key is not None:
        # Python's ssl reads a chain from a file alone.
        descriptor, name = tempfile.mkstemp(prefix="nnlint-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(tls.key + b"\n" + tls.certificate)
            context.load_cert_chain(name)
        finally:
            Path(name).unlink()
    return context


def _certificate(error: ssl.SSLCertVerificationError, address: Address, tls: Tls) -> Diagnosis:
    reason = error.verify_message
    if "expired" in reason:
        hint = "renew the certificate on the server"
    elif "not yet valid" in reason:
        hint = "is this machine's clock right?"
    elif "mismatch" in reason or "not valid for" in reason:
        hint = f"use a name that is in the certificate in place of {address.host}"
    elif tls.authorities is None:
        hint = "--tls-ca FILE names the authority that signed it"
    else:
        hint = "--tls-ca must name the authority that signed it"
    text = reason.rstrip(".")
    return Diagnosis(f"has a certificate that is not accepted: {text}", hint, lasting=True)


def _handshake(error: ssl.SSLError, address: Address) -> Diagnosis:
    reason = error.reason or ""
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"} or "HTTP_REQUEST" in reason:
        hint = "leave the --tls options out" if address.local else "start the server with TLS"
        return Diagnosis("speaks plain text, and it was spoken to in TLS", hint, lasting=True)
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return Diagnosis(*_WANTS_CERTIFICATE, lasting=True)
    if "ALERT" in reason:
        return Diagnosis(
            f"does not accept the client's certificate ({_reason(error)})",
            _CLIENT_CERTIFICATE,
            lasting=True,
        )
    return Diagnosis(f"and this client cannot agree on TLS ({_reason(error)})")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def _is_http2(answer: bytes) -> bool:
    return len(answer) >= _FRAME_HEADER and answer[3] == _SETTINGS


def _answer(connection: socket.socket) -> bytes:
    """Return the first bytes that the server says, fewer where it closes."""
    answer = b""
    while len(answer) < _FRAME_HEADER:
        part = connection.recv(_FRAME_HEADER - len(answer))
        if not part:
            break
        answer += part
    return answer
