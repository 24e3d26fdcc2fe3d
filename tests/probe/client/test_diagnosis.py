"""What is wrong with a connection, with real servers, TLS and certificates on loopback."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from nnlint.errors import UnreachableError
from nnlint.probe_service.client.address import Address, parse_address
from nnlint.probe_service.client.channel import Service
from nnlint.probe_service.client.diagnosis import diagnose
from tests.probe.client.fake import Fake, FakeServer

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Certificates:
    """An authority and what it signs, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.other = trustme.CA()
        self.ca = self._write("ca.pem", self.authority.cert_pem.bytes())
        self.other_ca = self._write("other.pem", self.other.cert_pem.bytes())
        client = self.authority.issue_cert("client@example.org")
        self.client_cert = self._write("client.pem", client.cert_chain_pems[0].bytes())
        self.client_key = self._write("client.key", client.private_key_pem.bytes())

    def _write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def server(self, name: str = "localhost", *, mutual: bool = False, **options: Any) -> Any:
        issued = self.authority.issue_cert(name, **options)
        pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
        roots = self.authority.cert_pem.bytes() if mutual else None
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=mutual)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


Start = Callable[[Any], int]


@pytest.fixture
def start() -> Iterator[Start]:
    servers = []

    def on_port(credentials: Any) -> int:
        servers.append(FakeServer(Fake(), "localhost:0", credentials))
        return servers[-1].port

    yield on_port
    for server in servers:
        server.stop()


def ask(address: Address) -> UnreachableError | None:
    """Return the error of a call, after which diagnosis said that it lasts, or no error."""
    waits: list[str] = []
    with Service(address, patience=30, on_wait=lambda reason, _: waits.append(reason)) as service:
        try:
            service.capabilities()
        except UnreachableError as error:
            assert waits == []
            return error
    return None


def test_a_right_connection_works_and_is_diagnosed_as_such(
    start: Start, certificates: Certificates
) -> None:
    plain = parse_address(f"localhost:{start(None)}")
    encrypted = parse_address(f"localhost:{start(certificates.server())}", tls_ca=certificates.ca)
    mutual = parse_address(
        f"localhost:{start(certificates.server(mutual=True))}",
        tls_ca=certificates.ca,
        tls_cert=certificates.client_cert,
        tls_key=certificates.client_key,
    )
    for address in (plain, encrypted, mutual):
        assert ask(address) is None
        assert diagnose(address) is None


@pytest.mark.parametrize(
    ("server", "client", "said", "hint"),
    [
        ({}, {}, "speaks TLS, and it was spoken to in plain text", "--tls-ca"),
        (None, {"tls": True}, "speaks plain text, and it was spoken to in TLS", "leave the --tls"),
        ({"not_after": LONG_AGO}, {"tls_ca": "ca"}, "certificate has expired", "renew"),
        ({"name": "elsewhere"}, {"tls_ca": "ca"}, "not valid for 'localhost'", "in place of"),
        ({}, {"tls_ca": "other_ca"}, "is not accepted", "--tls-ca must name"),
        ({}, {"tls": True}, "is not accepted", "--tls-ca FILE names the authority"),
        ({"mutual": True}, {"tls_ca": "ca"}, "wants a certificate of the client", "--tls-cert"),
    ],
    ids=["tls-port", "plain-port", "expired", "name", "authority", "unknown", "mutual"],
)
def test_what_is_wrong_is_told_apart(
    server: Any, client: Any, said: str, hint: str, start: Start, certificates: Certificates
) -> None:
    port = start(None if server is None else certificates.server(**server))
    options = {
        key: getattr(certificates, value) if isinstance(value, str) else value
        for key, value in client.items()
    }
    error = ask(parse_address(f"localhost:{port}", **options))
    assert error is not None
    assert said in str(error)
    assert hint in error.hint


def test_a_token_is_not_sent_before_the_servers_certificate_is_accepted(
    certificates: Certificates,
) -> None:
    fake = Fake()
    server = FakeServer(fake, "localhost:0", certificates.server())
    text = f"localhost:{server.port}"
    wrong = parse_address(text, tls_ca=certificates.other_ca)
    assert ask(Address(wrong.host, wrong.port, token="t", tls=wrong.tls)) is not None  # noqa: S106 - a test's
    assert fake.log == []
    server.stop()


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no gRPC server"), (b"", "closes the connection")],
)
def test_another_service_on_the_port_is_recognised(answer: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(1 if answer else 2):  # the second one greets in TLS
                connection, _ = listener.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        found = diagnose(parse_address(f"127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()
    assert found is not None
    assert found.message == said


def test_a_host_that_does_not_exist_is_said() -> None:
    found = diagnose(parse_address("nowhere.invalid", tls=True))
    assert found is not None
    assert found.lasting
    assert "is no known host" in found.message
