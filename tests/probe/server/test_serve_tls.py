"""Server and client as two processes that meet over TLS, with a token or a certificate."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nnlint.protos.v1 import probe_service_pb2 as pb
from nnlint.protos.v1 import probe_service_pb2_grpc
from tests.probe import graphs
from tests.probe.server.servers import ROOT, Server, serving

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - for a test
PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
CLIENT = """
import os, sys
import grpc
from nnlint.protos.v1 import probe_service_pb2_grpc
from tests.probe import graphs
from tests.probe.server.servers import upload

address, authority, token = sys.argv[1:]
credentials = grpc.composite_channel_credentials(
    grpc.ssl_channel_credentials(open(authority, "rb").read()),
    grpc.access_token_call_credentials(token),
)
with grpc.secure_channel(address, credentials) as channel:
    stub = probe_service_pb2_grpc.ProbeServiceStub(channel)
    built = graphs.mlp()
    upload(stub, built.everything())
    for response in stub.RunProbe(built.request(probe_id=os.urandom(16)), timeout=60):
        last = response.event
print(last.result.status, last.result.steps, "torch" in sys.modules)
"""


class Authority:
    """Certificates in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str, **options: Any) -> dict[str, str]:
        issued = self.ca.issue_cert("localhost", "127.0.0.1", common_name=name, **options)
        files = {part: self.folder / f"{name}-{part}.pem" for part in ("certificate", "key")}
        issued.cert_chain_pems[0].write_to_path(files["certificate"])
        issued.private_key_pem.write_to_path(files["key"])
        return {part: str(path) for part, path in files.items()}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that asks for a token, with a channel that has it."""
    folder = tmp_path_factory.mktemp("tls")
    with serving(folder, tokens=[TOKEN], tls=authority.issue("server")) as server:
        server.channel = channel_to(server, authority, token=TOKEN)
        server.settle()
        yield server


@pytest.fixture(autouse=True)
def clean(server: Server) -> Iterator[None]:
    yield
    server.check_clean()


def channel_to(
    server: Server,
    authority: Authority | None,
    *,
    token: str = "",
    client: dict[str, str] | None = None,
) -> grpc.Channel:
    pair = [Path(client[part]).read_bytes() for part in ("key", "certificate")] if client else []
    root = authority.file.read_bytes() if authority else None
    credentials = grpc.ssl_channel_credentials(root, *pair)
    if token:
        call = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, call)
    return grpc.secure_channel(server.address, credentials)


def code_of(channel: grpc.Channel) -> grpc.StatusCode:
    """Return how GetCapabilities ends."""
    with channel:
        stub = probe_service_pb2_grpc.ProbeServiceStub(channel)
        try:
            stub.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_two_processes_probe_over_tls_with_a_token(server: Server, authority: Authority) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, server.address, str(authority.file), TOKEN],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout.split() == ["1", "3", "False"], done.stderr


@pytest.mark.parametrize("token", ["", "wrong-horse-battery-staple", TOKEN[:-1], TOKEN + "x"])
def test_a_wrong_token_is_refused(server: Server, authority: Authority, token: str) -> None:
    channel = channel_to(server, authority, token=token)
    assert code_of(channel) is grpc.StatusCode.UNAUTHENTICATED


def test_every_call_but_the_health_check_needs_the_token(
    server: Server, authority: Authority
) -> None:
    with channel_to(server, authority) as channel:
        stub: Any = probe_service_pb2_grpc.ProbeServiceStub(channel)
        message = pb.UploadBlobsRequest()
        calls = [
            lambda: stub.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=10),
            lambda: stub.FindMissingBlobs(pb.FindMissingBlobsRequest(), timeout=10),
            lambda: stub.UploadBlobs(iter([message] * 10), timeout=10),
            lambda: list(stub.RunProbe(graphs.mlp().request(), timeout=10)),
            lambda: list(stub.AttachProbe(pb.AttachProbeRequest(), timeout=10)),
            lambda: stub.CancelProbe(pb.CancelProbeRequest(), timeout=10),
        ]
        health: Any = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest()
        calls.append(lambda: list(health.Watch(asked, timeout=10)))
        for call in calls:
            with pytest.raises(grpc.RpcError) as raised:
                call()
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert health.Check(asked, timeout=10).status == health_pb2.HealthCheckResponse.SERVING


def test_plain_text_to_a_tls_port_fails(server: Server) -> None:
    assert code_of(grpc.insecure_channel(server.address)) is grpc.StatusCode.UNAVAILABLE


def test_a_client_refuses_a_server_of_another_authority(server: Server, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    assert code_of(channel_to(server, other, token=TOKEN)) is grpc.StatusCode.UNAVAILABLE


def test_tokens_are_never_logged(server: Server, authority: Authority) -> None:
    wrong = TOKEN[::-1]
    code_of(channel_to(server, authority, token=wrong))
    text = server.log.read_text()
    assert TOKEN not in text
    assert wrong not in text
    assert "UNAUTHENTICATED" in text


def test_an_expired_server_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    expired = authority.issue("expired", not_before=PAST, not_after=PAST.replace(year=2021))
    with serving(tmp_path, tokens=[TOKEN], tls=expired) as other:
        channel = channel_to(other, authority, token=TOKEN)
        assert code_of(channel) is grpc.StatusCode.UNAVAILABLE


def test_mutual_tls_admits_who_shows_a_certificate(authority: Authority, tmp_path: Path) -> None:
    tls = {**authority.issue("mutual"), "client_ca": str(authority.file)}
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("stranger")
    late = authority.issue("late", not_before=PAST, not_after=PAST.replace(year=2021))
    laptop = authority.issue("laptop")
    with serving(tmp_path, tls=tls) as other:
        for client in (None, stranger, late):
            channel = channel_to(other, authority, client=client)
            assert code_of(channel) is grpc.StatusCode.UNAVAILABLE
        other.channel = channel_to(other, authority, client=laptop)
        assert other.run(graphs.mlp())[-1].HasField("result")
        clients = {line.get("client") for line in other.logged()}
        assert "certificate laptop" in clients
