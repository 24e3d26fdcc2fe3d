"""`nnlint.probe` on live modules."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nnlint
from nnlint.cli.formats import RenderOptions, load_format
from nnlint.errors import UsageError
from nnlint.probe_service.client import embedded
from nnlint.probe_service.client.embedded import Embedded


class Net(nn.Module):
    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(12, 32, bias=False)
        self.norm = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.1)
        self.fc2 = nn.Linear(32, 4)
        nn.init.constant_(self.norm.bias, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc2(self.drop(F.relu(self.norm(self.fc1(x)))))
        return out


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One server for all tests of the file."""
    with Embedded() as server:
        yield f"unix:{server.address().path}"


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(16, 12, generator=generator)
    return inputs, torch.randint(4, (16,), generator=generator)


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "values": copy.deepcopy(model.state_dict()),
        "gradients": {
            name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
        },
        "modes": [module.training for module in model.modules()],
        "random": torch.get_rng_state(),
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return torch.equal(first, second) if torch.is_tensor(first) else first == second


def test_a_healthy_model_is_truthy_and_stays_as_it_is(server: str, batch: Any) -> None:
    torch.manual_seed(0)
    model = Net().eval()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    before = state(model)
    identities = [id(parameter) for parameter in model.parameters()]
    report = nnlint.probe(model, batch, "cross_entropy", server)
    assert same(state(model), before)
    assert [id(parameter) for parameter in model.parameters()] == identities
    assert report, str(report)
    (probed,) = report.probes
    measured = probed.measured
    assert measured is not None
    assert probed.bit_equal
    assert measured.data == "user"
    assert len(measured.losses) == 3
    expected = F.cross_entropy(copy.deepcopy(model).train()(batch[0]), batch[1]).item()
    assert measured.losses[0] == pytest.approx(expected, rel=0.2)
    text = str(report)
    assert "fc1    linear 32x12" in text
    assert "no findings" in text


def test_gradients_are_those_of_the_model(server: str, batch: Any) -> None:
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4))
    report = nnlint.probe(model, batch, nn.CrossEntropyLoss(), server, steps=1, samples=0)
    copied = copy.deepcopy(model)
    F.cross_entropy(copied(batch[0]), batch[1]).backward()
    measured = report.probes[0].measured
    assert measured is not None
    for parameter in measured.parameters:
        gradient = copied.get_parameter(parameter.name).grad
        assert gradient is not None
        assert parameter.gradient_rms[0] == pytest.approx(
            gradient.square().mean().sqrt().item(), rel=1e-5
        )


def test_a_broken_model_is_falsy_with_findings_at_its_lines(server: str) -> None:
    torch.manual_seed(0)
    report = nnlint.probe(Net(bias=-100.0), None, "cross_entropy", server)
    assert not report
    dead = next(finding for finding in report if finding.rule == "dead-units")
    assert dead.location.path.endswith("test_live_probe.py")
    assert dead.severity is nnlint.Severity.WARNING


@pytest.mark.parametrize("form", ["tensor", "dict", "none", "loader"])
def test_a_batch_has_several_forms(form: str, server: str, batch: Any) -> None:
    given: Any = {
        "tensor": batch[0],
        "dict": {"x": batch[0], "labels": batch[1]},
        "none": None,
        "loader": [batch, batch],
    }[form]
    torch.manual_seed(0)
    report = nnlint.probe(Net(), given, "cross_entropy", server, steps=2, samples=0)
    measured = report.probes[0].measured
    assert measured is not None
    assert measured.batch_size == 16
    assert measured.data == ("random" if form == "none" else "user")
    assert len(measured.losses) == 2


def test_without_a_server_one_is_started_and_ended(
    batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Embedded] = []
    start = embedded.Embedded.start
    monkeypatch.setattr(
        embedded.Embedded, "start", lambda self: (started.append(self), start(self))[1]
    )
    torch.manual_seed(0)
    report = nnlint.probe(Net(), batch, "cross_entropy", steps=1, samples=0)
    assert report.probes[0].complete
    assert started[0]._process is not None
    assert started[0]._process.poll() is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is a number of at least 1, not 0"),
        ({"batch_size": 0}, "batch size is"),
        ({"learning_rate": float("nan")}, "learning rate is"),
        ({"seed": -1}, "seed is"),
        ({"seconds": float("inf")}, "seconds is"),
        ({"optimizer": "adamw", "momentum": 0.9}, "momentum is of sgd"),
        ({"select": ["no-such-rule"]}, "no-such-rule"),
        ({"server": "gpu-box"}, "would not be encrypted"),
    ],
)
def test_a_wrong_argument_is_a_usage_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nnlint.probe(Net(), **options)


def test_what_is_no_module_is_a_usage_error(server: str) -> None:
    with pytest.raises(UsageError, match=r"takes a torch\.nn\.Module"):
        nnlint.probe("net", server=server)  # type: ignore[arg-type]


def test_the_function_is_found_without_importing_torch() -> None:
    code = (
        "import sys, nnlint; 'probe' in dir(nnlint); print(*{'torch', 'grpc'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_report_is_compared_with_an_earlier_one(server: str, batch: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = nnlint.probe(Net(), batch, "cross_entropy", server, samples=0)
    path = tmp_path / "before.json"
    path.write_text(load_format("json").render(before, RenderOptions()))
    model = Net()
    nn.init.normal_(model.fc2.weight, std=10.0)
    after = nnlint.probe(model, batch, "cross_entropy", server, samples=0, baseline=str(path))
    assert before.comparison is None
    assert after.comparison is not None
    (found,) = after.comparison.models
    assert "fc1" in {each.layer for each in found.layers}
    assert f"compared with {path}:\nNet: " in str(after)
    with pytest.raises(UsageError, match="cannot read"):
        nnlint.probe(Net(), batch, "cross_entropy", server, baseline=str(tmp_path / "missing"))
