"""The server with a CUDA device."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe import graphs
from tests.probe.server.servers import Server, eventually, serving, wait_for

pytestmark = pytest.mark.gpu
Result = measurement_pb2.Result
CUDA = pb.ProbeSettings.DEVICE_KIND_CUDA


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    code = "import torch; print(torch.cuda.is_available())"
    seen = shutil.which("nvidia-smi") and subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    if not seen or seen.stdout.strip() != "True":
        pytest.skip("no CUDA device")
    with serving(tmp_path_factory.mktemp("gpu"), executor="", devices=["cuda:0"]) as server:
        server.settle()
        yield server


def run(server: Server, built: graphs.Built) -> Result:
    server.upload(built)
    return wait_for(server.start(built, device=CUDA), "result").result


def test_the_device_is_told_and_used(server: Server) -> None:
    (device,) = server.ready().devices
    assert device.kind == "cuda"
    assert device.memory_bytes > 1 << 30
    for built in (graphs.mlp(), graphs.convnet(), graphs.sigmoid_net()):
        result = run(server, built)
        assert result.status == Result.STATUS_COMPLETED, result
        assert result.environment.device == "cuda"
        assert result.environment.device_name == device.name


def test_a_first_step_comes_within_half_a_second(server: Server) -> None:
    seconds = []
    for _ in range(3):
        assert run(server, graphs.mlp()).status == Result.STATUS_COMPLETED
        eventually(server.workers, "a worker")
        server.upload(graphs.mlp())
        began = time.monotonic()
        wait_for(server.start(graphs.mlp(), device=CUDA), "step")
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.5, seconds


def test_an_assertion_on_the_device_ends_one_probe_alone(server: Server) -> None:
    builder = graphs.Builder(batch_size=8)
    table, index = builder.parameter(10, 4), builder.labels(1000, 8)  # beyond the table
    x = builder.call("aten.embedding.default", table, index, shape=(8, 4))
    result = run(server, builder.build(builder.call("aten.sum.default", x, shape=())))
    assert result.status in {Result.STATUS_OPERATOR_FAILED, Result.STATUS_WORKER_CRASHED}
    assert run(server, graphs.mlp()).status == Result.STATUS_COMPLETED


def test_a_killed_worker_frees_the_device(server: Server) -> None:
    for _ in range(3):
        server.worker().kill()
        assert run(server, graphs.convnet()).status == Result.STATUS_COMPLETED
