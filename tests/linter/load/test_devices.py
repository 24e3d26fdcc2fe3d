"""Whatever device the user's code asks for, it runs on the CPU."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from nnlint.linter.load.devices import on_cpu


@pytest.fixture(autouse=True)
def cpu():
    with on_cpu():
        yield


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2).cuda(),
        lambda: torch.zeros(2).cuda(0, non_blocking=True),
        lambda: torch.zeros(2).to("cuda"),
        lambda: torch.zeros(2).to(0),
        lambda: torch.zeros(2).to(device="cuda:1", dtype=torch.float64),
        lambda: torch.zeros(2).to(torch.device("mps")),
        lambda: torch.zeros(2).to(torch.zeros(1)),
        lambda: torch.zeros(2).to(torch.float16),
        lambda: torch.zeros(2, device="cuda"),
        lambda: torch.zeros(2, device=torch.device("cuda", 1)),
        lambda: torch.zeros(2, pin_memory=True),
        lambda: torch.zeros(2).pin_memory(),
        lambda: torch.tensor([1.0], device="cuda"),
        lambda: torch.arange(3, device="xpu"),
        lambda: torch.zeros_like(torch.zeros(2), device="cuda"),
        lambda: torch.zeros(2).new_zeros(3, device="cuda"),
        lambda: torch.zeros(2).type("torch.cuda.FloatTensor"),
        lambda: torch.zeros(2).type(torch.cuda.FloatTensor),
        lambda: torch.cuda.FloatTensor(3),
        lambda: torch.randn(2, generator=torch.Generator("cuda").manual_seed(1), device="cuda"),
        lambda: nn.Linear(2, 2).cuda().weight,
        lambda: nn.Linear(2, 2).to("cuda").weight,
        lambda: nn.Linear(2, 2).to(torch.device("cuda"), torch.float64).weight,
        lambda: nn.Linear(2, 2, device="cuda").weight,
        lambda: nn.Sequential(nn.BatchNorm2d(2, device="cuda:0")).cuda(1)[0].running_mean,
        lambda: nn.DataParallel(nn.Linear(2, 2)).cuda().module.weight,
        lambda: nn.Parameter(torch.zeros(2, device="cuda")),
        lambda: torch.ones(2, device="meta").to("meta").new_ones(2, device="cuda"),
    ],
)
def test_tensors_are_on_the_cpu(make):
    assert make().device == torch.device("cpu")


def test_other_devices_stay():
    assert torch.zeros(2, device="meta").device.type == "meta"


def test_default_devices():
    torch.set_default_device("cuda")
    try:
        assert nn.Linear(2, 2).weight.device.type == "cpu"
    finally:
        torch.set_default_device(None)
    with torch.device("cuda"):
        assert torch.zeros(2).device.type == "cpu"


def test_saved_tensors_load_on_the_cpu():
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(2)}, buffer)
    buffer.seek(0)
    assert torch.load(buffer, map_location="cuda")["x"].device.type == "cpu"


def test_the_functions_of_torch_cuda_do_no_harm():
    cuda = torch.cuda
    assert not cuda.is_available()
    cuda.set_device(1)
    cuda.empty_cache()
    cuda.synchronize()
    cuda.manual_seed_all(0)
    assert cuda.current_device() == 0
    assert cuda.get_device_name(0)
    assert cuda.get_device_properties(0).total_memory == 0
    assert cuda.memory_allocated() == 0
    with cuda.device(0), cuda.stream(cuda.Stream()):
        cuda.current_stream().synchronize()


def test_compiling_hands_the_model_back():
    layer = nn.Linear(2, 2)
    assert torch.compile(layer, mode="max-autotune") is layer

    @torch.compile(fullgraph=True)
    def double(x):
        return 2 * x

    assert double(2) == 4


def test_everything_is_as_before_afterwards():
    before = (torch.compile, torch.load, torch.cuda.Stream, torch.Generator)
    with on_cpu():
        pass
    assert (torch.compile, torch.load, torch.cuda.Stream, torch.Generator) == before
