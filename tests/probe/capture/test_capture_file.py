"""From a file to captures: the user's code runs in a child alone."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnlint.errors import NoModelError, UsageError
from nnlint.linter.findings import Report
from nnlint.linter.load.pool import Pool
from nnlint.linter.selection import resolve
from nnlint.linter.settings import InputSpec, LintSettings, ModelSettings
from nnlint.probe_service.capture.bundle import Capture, CaptureRefused
from nnlint.probe_service.capture.driver import capture_file
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2

EXAMPLES = Path(__file__).parents[3] / "examples"
HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
Result = tuple[Report, tuple[Capture | CaptureRefused, ...]]


@pytest.fixture(scope="module")
def pool() -> Any:
    with Pool() as made:
        yield made


@pytest.fixture
def capture(tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Capture the models of a source text, and leave nothing behind."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def run(text: str, *, data: str = "", options: Any = None, **settings: Any) -> Result:
        path = tmp_path / "net.py"
        path.write_text(HEADER + textwrap.dedent(text))
        given = LintSettings(root=str(tmp_path), **settings)
        result = capture_file(
            str(path),
            given,
            rules=resolve((), ()),
            options=options or ProbeOptions(),
            data=data,
            pool=pool,
        )
        assert not list(scratch.iterdir())
        return result

    return run


NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        return self.linear(x)
"""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_captured_with_equal_gradients(path: Path, pool: Pool) -> None:
    _, outcomes = capture_file(
        str(path), LintSettings(), rules=resolve((), ()), options=ProbeOptions(), pool=pool
    )
    (captured,) = outcomes
    assert isinstance(captured, Capture)
    assert captured.parity.bit_equal
    assert captured.loss_source == "found"
    assert captured.loss.startswith("cross_entropy at ")
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert len(captured.nodes) == len(graph.nodes)
    assert all(site.location is not None for site in captured.nodes)
    assert set(captured.blobs) == {t.digest.sha256 for t in graph.tensors if t.HasField("digest")}
    assert all(
        len(captured.blobs[t.digest.sha256]) == t.digest.size_bytes
        for t in graph.tensors
        if t.HasField("digest")
    )


def test_the_parent_imports_no_torch() -> None:
    code = f"""
import sys
from nnlint.linter.settings import LintSettings
from nnlint.probe_service.capture.driver import capture_file
from nnlint.probe_service.options import ProbeOptions
report, outcomes = capture_file(
    {str(EXAMPLES / "sigmoid_head.py")!r}, LintSettings(), rules=(), options=ProbeOptions()
)
print(type(outcomes[0]).__name__, {{"torch", "grpc", "numpy"}} & set(sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["Capture", "set()"]


def test_a_refused_model_is_told_with_its_line_and_the_others_go_on(capture: Any) -> None:
    report, outcomes = capture(
        """
class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        y = self.linear(x)
        return y if y.sum() > 0 else -y
"""
        + NET
    )
    refused, captured = outcomes
    assert isinstance(refused, CaptureRefused)
    assert refused.model == "Deciding"
    assert "only known when it runs" in refused.reason
    assert refused.location.line == 12
    assert isinstance(captured, Capture)
    assert captured.model == "Net"
    assert [model.name for model in report.models] == ["Deciding", "Net"]


def test_a_model_that_cannot_be_built_is_refused_with_the_reason_of_the_lint(capture: Any) -> None:
    strict = "super().__init__()\n        assert width == 4711"
    text = NET.replace("__init__(self)", "__init__(self, width)")
    _, outcomes = capture(text.replace("super().__init__()", strict))
    (refused,) = outcomes
    assert isinstance(refused, CaptureRefused)
    assert "needs the argument width" in refused.reason
    assert "--arg width=VALUE" in refused.hint


def test_a_crash_while_capturing_is_a_refusal_and_the_findings_stay(capture: Any) -> None:
    report, outcomes = capture(
        NET.replace(
            "return self.linear(x)",
            """if not isinstance(x, torch.fx.Proxy) and x.shape[0] == 16:
            import os
            os.abort()
        return F.softmax(self.linear(x), 1)""",
        )
        + "\ndef train(x, y):\n    F.cross_entropy(Net()(x), y).backward()\n"
    )
    (refused,) = outcomes
    assert isinstance(refused, CaptureRefused)
    assert "capturing a training step crashes Python" in refused.reason
    assert refused.location.line == 13
    assert any(finding.code == "NNL101" for finding in report.findings)


def test_input_shapes_of_the_settings_are_used_and_scaled(capture: Any) -> None:
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x, *, mask=None):
        y = self.conv(x).mean((2, 3))
        return y if mask is None else y * mask
"""
    specs = (InputSpec((2, 3, 20, 20)), InputSpec((2, 1), "float64", "mask"))
    model = ModelSettings(inputs=specs, loss="l1_loss")
    _, (captured,) = capture(text, default_model=model, options=ProbeOptions(batch_size=4))
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert [list(tensor.shape) for tensor in graph.tensors[:2]] == [[4, 3, 20, 20], [4, 1]]
    assert graph.tensors[1].dtype == graph_pb2.SCALAR_TYPE_FLOAT64
    assert captured.loss == "l1_loss"
    assert captured.loss_source == "given"
    assert captured.batch_size == 4


def test_data_of_the_user_comes_from_a_file_or_a_loader(capture: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "batch.npz", x=np.ones((5, 6)), y=np.array([0, 1, 2, 3, 0]))
    (tmp_path / "loaders.py").write_text(
        "import torch\n"
        "def batches():\n"
        "    print('loading')\n"
        "    for _ in range(3):\n"
        "        yield torch.ones(4, 6), torch.zeros(4, dtype=torch.long)\n"
    )
    model = ModelSettings(loss="cross_entropy")
    for data, count, batches in (("batch.npz", 5, 1), ("loaders.py:batches", 4, 3)):
        _, (captured,) = capture(NET, data=str(tmp_path / data), default_model=model)
        graph = graph_pb2.Graph.FromString(captured.graph)
        assert captured.data == "user"
        assert captured.batch_size == count
        assert graph.tensors[0].batches == batches


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({}, "nothing.npz", "nothing.npz does not exist"),
        ({"default_model": ModelSettings(loss="nonsense")}, "", "'nonsense' is no loss"),
    ],
)
def test_what_the_user_got_wrong_is_a_usage_error(
    capture: Any, settings: dict[str, Any], data: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        capture(NET, data=data, **settings)


def test_a_file_without_models_is_the_same_error_as_for_lint(capture: Any) -> None:
    with pytest.raises(NoModelError):
        capture("x = 1\n")


def test_a_capture_survives_its_way_through_a_folder(tmp_path: Path, capture: Any) -> None:
    _, (captured,) = capture(NET.replace("4)", "300000)"))
    captured.write(tmp_path / "scratch")
    again = Capture.read(tmp_path / "scratch")
    for field in dataclasses.fields(Capture):
        if field.name != "blobs":
            assert getattr(again, field.name) == getattr(captured, field.name)
    assert {k: bytes(v) for k, v in again.blobs.items()} == {
        k: bytes(v) for k, v in captured.blobs.items()
    }
    for path in sorted((tmp_path / "scratch").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
