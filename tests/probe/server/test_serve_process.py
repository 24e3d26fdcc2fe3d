"""The server as a process: how it starts, what it is made of, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.server import fakes
from tests.probe.server.servers import Part, Server, command, eventually, serving, wait_for

Result = measurement_pb2.Result
MIB = 1 << 20


def health_of(server: Server) -> int:
    _ = server.stub
    assert server.channel is not None
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    names = ("", "nnlint.protos.v1.ProbeService")
    (status,) = {
        stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status for name in names
    }
    return int(status)


def running(server: Server, seed: int = fakes.HANG) -> Any:
    server.upload(graphs.mlp())
    stream = server.start(graphs.mlp(), seed=seed, steps=40)
    wait_for(stream, "stage", kind=pb.Stage.KIND_RUNNING)
    return stream


def descendants(server: Server) -> list[psutil.Process]:
    return [server.front, *server.front.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> None:
    eventually(lambda: not any(map(alive, processes)), "the end of all")


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def refusal_of(**settings: Any) -> str:
    """Return what a server says that does not start."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(executor="math:floor", **settings), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.wait(30) == 2
        assert process.stderr is not None
        return process.stderr.read()


def test_the_front_imports_no_torch_and_stays_small(fake_server: Server) -> None:
    code = (
        "import sys, nnlint.probe_service.server.serve; "
        "print({'torch', 'numpy', 'nnlint.probe_service.server.worker'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    for _ in range(3):
        fake_server.run(graphs.convnet(), seed=fakes.LARGE, steps=20)
    assert not [each for each in fake_server.front.memory_maps() if "torch" in each.path]
    assert fake_server.front.memory_info().rss < 300 * MIB


def test_the_spawner_forks_from_one_thread(real_server: Server) -> None:
    real_server.run(graphs.convnet())
    assert real_server.spawner().num_threads() == 1


def test_a_worker_has_given_up_what_it_does_not_need(fake_server: Server) -> None:
    stream = running(fake_server)
    worker = fake_server.worker()
    proc = Path(f"/proc/{worker.pid}")
    names = set(worker.environ())  # of the spawner, at its start
    assert not names & {"NNLINT_TOKEN", "SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY"}
    assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert worker.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert worker.rlimit(psutil.RLIMIT_DATA)[0] > 0
    assert (proc / "oom_score_adj").read_text().strip() == "1000"
    assert "NoNewPrivs:\t1" in (proc / "status").read_text()
    assert os.getsid(worker.pid) == worker.pid
    links = {str(each.readlink()) for each in (proc / "fd").iterdir()}
    kinds = sorted(link.partition(":")[0] for link in links)
    assert kinds == ["/dev/null", "pipe", "socket"]
    if (proc / "ns" / "net").readlink() != Path("/proc/self/ns/net").readlink():
        assert len((proc / "net" / "dev").read_text().splitlines()) == 3  # lo alone
    stream.cancel()


@pytest.mark.parametrize("which", ["fake_server", "real_server"])
def test_a_first_step_comes_within_half_a_second(
    which: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(which)
    seconds = []
    for _ in range(3):
        server.check_clean()
        server.upload(graphs.mlp())
        began = time.monotonic()
        wait_for(server.start(graphs.mlp()), "step")
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.5


def test_a_second_server_on_one_port_is_refused(fake_server: Server, tmp_path: Path) -> None:
    said = refusal_of(listen=fake_server.address, store=str(tmp_path))
    assert "the address is in use" in said
    assert "hint: " in said
    fake_server.check_clean()


def test_a_second_server_on_one_socket_or_store_is_refused(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/probe.sock"
    with serving(tmp_path, listen=address) as server:
        assert server.address == address
        assert (tmp_path / "probe.sock").stat().st_mode & 0o77 == 0
        for words, settings in (
            ("another server listens", {"listen": address, "store": str(tmp_path / "two")}),
            ("another server uses", {"listen": "127.0.0.1:0", "store": str(server.store)}),
        ):
            assert words in refusal_of(**settings)
        server.ready()
        server.process.kill()
        server.process.wait()
    with serving(tmp_path, listen=address) as server:  # over the socket file that was left
        server.ready()
        assert server.stop() == 0
    assert not (tmp_path / "probe.sock").exists()


def test_a_server_ends_with_its_parent(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        stream = running(server)
        processes = descendants(server)
        assert len(processes) == 4
        began = time.monotonic()
        assert server.process.stdin is not None
        server.process.stdin.close()
        # A probe was running, and its client is told.
        assert server.process.wait(20) == 1
        assert time.monotonic() - began < 3
        assert wait_for(stream, "result").result.status == Result.STATUS_CANCELLED
        all_gone(processes)


def test_a_killed_server_leaves_no_process(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        running(server)
        processes = descendants(server)
        server.process.kill()
        all_gone(processes)


def test_sigterm_lets_a_running_probe_end(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        stream = running(server, fakes.SLOW)
        waiting = server.start(graphs.mlp())
        wait_for(waiting, "stage", kind=pb.Stage.KIND_QUEUED)
        processes = descendants(server)
        server.process.send_signal(signal.SIGTERM)
        eventually(
            lambda: health_of(server) == health_pb2.HealthCheckResponse.NOT_SERVING, "a warning"
        )
        with pytest.raises(grpc.RpcError) as raised:
            server.ready()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert wait_for(waiting, "result").result.status == Result.STATUS_CANCELLED
        assert wait_for(stream, "result").result.status == Result.STATUS_COMPLETED
        assert server.process.wait(20) == 0
        all_gone(processes)


@pytest.mark.parametrize("second", [False, True], ids=["grace", "second signal"])
def test_a_probe_that_outlives_the_grace_is_lost(tmp_path: Path, second: bool) -> None:
    with serving(tmp_path, grace=30.0 if second else 0.2) as server:
        stream = running(server)
        server.process.send_signal(signal.SIGTERM)
        if second:
            eventually(
                lambda: health_of(server) == health_pb2.HealthCheckResponse.NOT_SERVING, "a warning"
            )
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 1
        assert wait_for(stream, "result").result.status == Result.STATUS_CANCELLED


def test_a_server_killed_while_uploading_starts_again_on_its_store(tmp_path: Path) -> None:
    whole, cut = os.urandom(MIB), os.urandom(4 * MIB)
    with serving(tmp_path) as server:
        server.ready()

        def messages() -> Iterator[pb.UploadBlobsRequest]:
            part = Part(digest=graphs.digest_of(whole), data=whole, last=True)
            yield pb.UploadBlobsRequest(parts=[part])
            part = Part(digest=graphs.digest_of(cut), data=cut[: 2 * MIB])
            yield pb.UploadBlobsRequest(parts=[part])
            eventually(server.incoming, "a file under way")
            eventually(lambda: server.incoming()[0].stat().st_size == 2 * MIB, "half of it")
            server.process.kill()

        with pytest.raises(grpc.RpcError) as raised:
            server.stub.UploadBlobs(messages(), timeout=30)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(server.incoming()) == 1
    with serving(tmp_path) as server:
        server.settle()
        assert server.incoming() == []
        asked = pb.FindMissingBlobsRequest(digests=map(graphs.digest_of, (whole, cut)))
        found = server.stub.FindMissingBlobs(asked, timeout=10)
        assert list(found.missing) == [graphs.digest_of(cut)]
        server.check_clean()


def test_a_full_disk_refuses_the_upload_and_nothing_else(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 2 * MIB),
        serving(tmp_path, store=str(tmp_path / "disk" / "store")) as server,
    ):
        server.settle()
        blob = os.urandom(3 * MIB)
        half = [
            Part(digest=graphs.digest_of(blob), data=blob[: MIB + MIB // 2]),
            Part(data=blob[MIB + MIB // 2 :], last=True),
        ]
        messages = (pb.UploadBlobsRequest(parts=[part]) for part in half)
        with pytest.raises(grpc.RpcError) as raised:
            server.stub.UploadBlobs(messages, timeout=30)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.details() == "the disk of the store is full"
        assert server.incoming() == []
        server.check_clean()


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may make a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_store_that_is_too_small_refuses_the_model_and_keeps_its_limit(tmp_path: Path) -> None:
    with serving(tmp_path, store_bytes=MIB) as server:
        server.settle()
        blobs = {number.to_bytes(1): os.urandom(300_000) for number in range(5)}
        with pytest.raises(grpc.RpcError) as raised:
            upload_all(server, blobs)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.details() == "the store is full"
        assert sum(path.stat().st_size for path in server.blobs()) <= MIB
        server.check_clean()


def upload_all(server: Server, blobs: dict[bytes, bytes]) -> None:
    parts = [
        Part(digest=graphs.digest_of(content), data=content, last=True)
        for content in blobs.values()
    ]
    server.stub.UploadBlobs((pb.UploadBlobsRequest(parts=[part]) for part in parts), timeout=30)


def test_systemd_is_told_when_the_server_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(tmp_path) as server:
            assert listener.recv(100) == b"READY=1"
            assert health_of(server) == health_pb2.HealthCheckResponse.SERVING
            server.process.send_signal(signal.SIGTERM)
            assert listener.recv(100) == b"STOPPING=1"
            assert server.process.wait(20) == 0


def test_a_broken_torch_is_said_in_one_line(tmp_path: Path) -> None:
    with serving(tmp_path, executor="no_such_module:execute") as server:
        assert server.process.wait(30) == 2
        assert "torch cannot be imported: ModuleNotFoundError" in server.log.read_text()


def test_a_device_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with serving(tmp_path, devices=["cuda:99"]) as server:
        assert server.process.wait(60) == 2
        assert "there is no device cuda:99 here" in server.log.read_text()


def metrics_at(url: str) -> dict[str, str]:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_metrics_and_log_tell_what_happened(tmp_path: Path) -> None:
    with serving(tmp_path, metrics="127.0.0.1:0", reflection=True) as server:
        probe_id = os.urandom(16)
        server.upload(graphs.mlp())
        # To their end: a call that is dropped after its result may count as cancelled.
        assert list(server.start(graphs.mlp(), probe_id=probe_id))
        assert list(server.start(graphs.mlp(), seed=fakes.KILL))
        url = f"http://127.0.0.1:{server.announced['metrics_port']}/metrics"
        run = "/nnlint.protos.v1.ProbeService/RunProbe"
        handled = f'grpc_server_handled_total{{grpc_code="OK",grpc_method="{run}"}}'
        # The client has a call's last message before the server counts the call as handled.
        eventually(lambda: metrics_at(url).get(handled) == "2.0", "both calls are counted")
        values = metrics_at(url)
        assert values['probe_requests_total{outcome="completed"}'] == "1.0"
        assert values['probe_requests_total{outcome="worker_crashed"}'] == "1.0"
        assert values['probe_worker_restarts_total{reason="worker_crashed"}'] == "1.0"
        assert values["probe_run_seconds_count"] == values["probe_queue_seconds_count"] == "2.0"
        assert values["probe_first_event_seconds_count"] == "1.0"
        assert float(values["cas_bytes"]) >= 5 * 4096
        assert values["cas_stored_total"] == "6.0"
        assert float(values["process_resident_memory_bytes"]) < 300 * MIB
        assert server.channel is not None
        names = ProtoReflectionDescriptorDatabase(server.channel).get_services()
        assert "nnlint.protos.v1.ProbeService" in names
        lines = [line for line in server.logged() if line.get("probe") == probe_id.hex()]
        assert [line["message"] for line in lines] == ["probe runs", "probe ended"]
        assert lines[1]["outcome"] == "completed"
        assert all(json.dumps(line) for line in server.logged())


def test_a_device_whose_workers_cannot_start_is_not_offered(tmp_path: Path) -> None:
    with serving(tmp_path, executor="tests.probe.server.fakes:no_such_function") as server:
        assert list(server.ready().devices) == []
        assert health_of(server) == health_pb2.HealthCheckResponse.NOT_SERVING
        server.upload(graphs.mlp())
        with pytest.raises(grpc.RpcError) as raised:
            list(server.start(graphs.mlp()))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        (line, *_) = [line for line in server.logged() if "before it was ready" in line["message"]]
        assert "no_such_function" in line["output"]
