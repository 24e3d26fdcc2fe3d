"""`nnlint probe` as users run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import psutil
import pytest
import trustme

from nnlint.cli import main
from nnlint.cli.formats import RenderOptions, load_format
from nnlint.cli.formats.json import json_schema
from nnlint.linter.findings import Report
from tests.probe.client import made
from tests.probe.client.test_embedded import entries, family, gone, until

HERE = Path(__file__).parent
TOKEN = "a-token-of-at-least-sixteen"  # noqa: S105 - a test's
MODELS = """import torch
import torch.nn.functional as F
from torch import nn


class Healthy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 32)
        self.fc2 = nn.Linear(32, 4)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


class Dead(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 32)
        self.fc2 = nn.Linear(32, 4)
        nn.init.constant_(self.fc1.bias, -100.0)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        if x.sum() > 0:
            x = x * 2
        return self.fc(x)


def train_healthy(x, labels):
    model = Healthy()
    F.cross_entropy(model(x), labels).backward()


def train_dead(x, labels):
    model = Dead()
    F.cross_entropy(model(x), labels).backward()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(MODELS)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for variable in ("NO_COLOR", "FORCE_COLOR", "NNLINT_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nnlint(*arguments: str, timeout: float = 300) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "nnlint", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=timeout,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    return done.returncode, done.stdout, done.stderr


def left(project: Path) -> list[str]:
    """Return what is left of temporary files, apart from the folder that torch makes."""
    return [name for name in entries(project / "tmp") if not name.startswith("torchinductor")]


ERRORS = {
    "no-path": [],
    "missing-path": ["nett.py"],
    "stdin": ["-"],
    "misspelt-option": ["net.py", "--stpes", "3"],
    "no-steps": ["net.py", "--steps", "0"],
    "unknown-optimizer": ["net.py", "--optimizer", "adam"],
    "infinite-rate": ["net.py", "--lr", "inf"],
    "momentum-of-adamw": ["net.py", "--optimizer", "adamw", "--momentum", "0.9"],
    "malformed-server": ["net.py", "--server", "http://gpu-box:7478"],
    "plain-text": ["net.py", "--server", "gpu-box:7478"],
    "no-token-file": ["net.py", "--server", "localhost", "--token-file", "token"],
    "tls-without-server": ["net.py", "--tls-ca", "ca.pem"],
    "nobody-there": ["net.py", "--server", "localhost:1"],
    "unknown-experiment": ["net.py", "--experiment", "lr-range,over-fit"],
    "all-and-experiment": ["net.py", "--all", "--experiment", "clip"],
    "empty-experiment": ["net.py", "--experiment", "clip,"],
    "descending-rates": ["net.py", "--experiment", "gradients", "--lr-start", "20"],
    "no-folder-for-the-page": ["net.py", "--html", "missing/report.html"],
    "no-folder-for-tensorboard": ["net.py", "--tensorboard", "net.py"],
    "no-baseline": ["net.py", "--baseline", "before.json"],
    "foreign-baseline": ["net.py", "--baseline", "net.py"],
    "unknown-key": ["net.py", "--config", "wrong.toml"],
}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_call_matches_its_golden_file(
    name: str,
    golden: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("wrong.toml").write_text("[tool.nnlint.probe]\nsever = 'gpu-box'\n")
    monkeypatch.setattr("nnlint.probe_service.client.channel.FIRST_PATIENCE", 0.2)
    code = main(["probe", *ERRORS[name]])
    captured = capsys.readouterr()
    command = " ".join(["nnlint probe", *ERRORS[name]])
    text = f"$ {command}\nexit code: {code}\n--- stdout\n{captured.out}--- stderr\n{captured.err}"
    golden(HERE / "golden" / f"probe-cli-{name}.txt", text)


def test_the_help_names_every_option_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from nnlint.cli import main; main(['probe', '--help']);"
        "print(*({'torch', 'grpc', 'numpy', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"
    for option in ("--server", "--token-file", "--tls-ca", "--data", "--fit-batch", "--select"):
        assert f" {option} " in done.stdout


def test_models_of_a_file_are_probed_and_joined_with_the_lint(project: Path) -> None:
    code, out, err = nnlint("probe", "net.py", "--output-format", "json")
    assert (code, err) == (1, "")
    report = json.loads(out)
    jsonschema.validate(report, json_schema())
    probes = {each["model"]: each for each in report["probes"]}
    assert {name: each["status"] for name, each in probes.items()} == {
        "Healthy": "completed",
        "Dead": "completed",
        "Branching": "not-probed",
    }
    assert probes["Branching"]["reason"]
    assert probes["Branching"]["reason_path"] == "net.py"
    healthy = probes["Healthy"]
    assert healthy["bit_equal"]
    assert healthy["loss"] == "cross_entropy at net.py:40"
    assert len(healthy["losses"]) == 3
    assert [each["name"] for each in healthy["parameters"]] == [
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    ]
    assert all(0 < value < 1 for each in healthy["parameters"] for value in each["gradient_rms"])
    found = {(each["rule"], each["model"], each["line"]) for each in report["findings"]}
    assert ("dead-relu-bias", "Dead", 19) in found
    assert ("dead-units", "Dead", 24) in found
    assert not [each for each in found if each[1] == "Healthy"]
    static = next(each for each in report["findings"] if each["rule"] == "dead-relu-bias")
    assert static["evidence"]["probe"]["verdict"] == "confirmed"
    assert left(project) == []


@pytest.mark.usefixtures("project")
def test_one_clean_model_gives_0_and_one_that_cannot_be_probed_gives_2() -> None:
    code, out, err = nnlint("probe", "net.py:Healthy", "--steps", "1", "--samples", "0", "-v")
    assert code == 0, out
    assert "no findings in 1 model" in out
    assert " fc1     linear   32x12 " in out
    assert "nnlint: Healthy: step 1 of 1: loss" in err
    assert "MB" in err
    code, out, err = nnlint("probe", "net.py:Branching")
    assert code == 2
    assert out.startswith("not probed: Branching (net.py:")
    assert err == ""
    assert nnlint("probe", "net.py:Branching", "--exit-zero")[0] == 0


def test_experiments_are_run_and_compared_and_written_for_tensorboard(project: Path) -> None:
    earlier = made.probed(model="Healthy", measured=made.measured(model="Healthy"))
    text = load_format("json").render(Report(probes=(earlier,)), RenderOptions())
    (project / "old.json").write_text(text)
    code, out, err = nnlint(
        *("probe", "net.py:Healthy", "--experiment", "gradients,isolation", "--experiment=overfit"),
        *("--steps", "2", "--samples", "0", "--histograms", "--overfit-steps", "2", "--lr", "0.5"),
        *("--baseline", "old.json", "--tensorboard", "runs", "-v"),
    )
    assert code == 1, out + err
    assert "  isolation: 1 output compared, none depends on another sample\n" in out
    assert re.search(r"^  overfit: \d+ samples not learned by heart in 2 steps", out, re.MULTILINE)
    assert " samples cannot be learned by heart: in 2 steps" in out
    assert (
        "compared with old.json:\n  Healthy\n    made otherwise: learning_rate 0.01 -> 0.5" in out
    )
    assert "    new layers: fc1 and fc2\n    gone layers: stem, 名前 and head\n" in out
    assert "nnlint: Healthy: isolation (2 of 3)\n" in err
    assert "nnlint: Healthy: overfit is done\n" in err
    assert [each.name for each in (project / "runs").iterdir()] == ["Healthy"]


@pytest.mark.usefixtures("project")
def test_the_file_says_what_the_command_line_does_not() -> None:
    Path("pyproject.toml").write_text(
        '[tool.nnlint.probe]\nsteps = 2\nbatch-size = 5\noptimizer = "adamw"\nsamples = 0\n'
    )
    code, out, _ = nnlint("probe", "net.py:Healthy", "--steps", "1", "--output-format", "json")
    assert code == 0
    (probe,) = json.loads(out)["probes"]
    assert len(probe["losses"]) == 1
    assert (probe["batch_size"], probe["optimizer"]) == (5, "adamw")
    assert probe["learning_rate"] == 0.001


@pytest.mark.usefixtures("project")
def test_a_batch_of_the_users_own_is_run() -> None:
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((32, 12), dtype=np.float32)
    np.savez("batch.npz", x=inputs, labels=generator.integers(0, 4, 32))
    arguments = ["--data", "batch.npz", "--batch-size", "8", "--output-format", "json"]
    code, out, err = nnlint("probe", "net.py:Healthy", *arguments)
    assert (code, err) == (0, "")
    (probe,) = json.loads(out)["probes"]
    assert (probe["data"], probe["batch_size"], len(probe["losses"])) == ("user", 8, 3)
    assert probe["units"][0]["samples"] <= 32
    code, out, err = nnlint("probe", "net.py:Healthy", "--data", "missing.npz")
    assert (code, out) == (2, "")
    assert err.startswith("nnlint: error: missing.npz does not exist")


@pytest.mark.usefixtures("project")
def test_the_second_probe_of_a_file_says_the_same() -> None:
    first, second = (
        json.loads(nnlint("probe", "net.py:Healthy", "--output-format", "json")[1])["probes"][0]
        for _ in range(2)
    )
    for each in (first, second):
        del each["seconds"], each["available_bytes"]
    assert first == second


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_an_interrupt_leaves_nothing(number: int, expected: int, project: Path) -> None:
    client = subprocess.Popen(
        [
            *(sys.executable, "-m", "nnlint", "probe", "net.py:Healthy", "-v"),
            *("--steps", "1000", "--samples", "0"),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stderr is not None
    for line in client.stderr:
        if "step 1 of" in line:
            break
    processes = family(client.pid)[1:]
    client.send_signal(number)
    out, err = client.communicate(timeout=60)
    assert client.returncode == expected
    assert out == ""
    assert "Traceback" not in err
    assert until(lambda: gone(processes))
    assert until(lambda: left(project) == [])


class Served:
    """`nnlint serve` with TLS and a token."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        issued.private_key_pem.write_to_path(str(folder / "key.pem"))
        issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        self.token = folder / "token"
        self.token.write_text(f"{TOKEN}\n")
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "nnlint", "serve", "--listen", "localhost:0"),
                *("--store", str(folder / "store"), "--token-file", str(self.token)),
                *("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")),
                *("--announce", str(writing), "--device", "cpu"),
            ],
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as announcement:
            address = json.loads(announcement.readline())["address"]
        self.address = f"localhost:{address.rpartition(':')[2]}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    server.process.terminate()
    server.process.wait(30)


@pytest.mark.usefixtures("project")
def test_a_probe_on_another_server_over_tls_with_a_token(served: Served) -> None:
    arguments = [
        *("probe", "net.py:Healthy", "--server", served.address, "--tls-ca", served.ca),
        *("--output-format", "json"),
    ]
    code, out, err = nnlint(*arguments, "--token-file", str(served.token))
    assert (code, err) == (0, "")
    (probe,) = json.loads(out)["probes"]
    assert probe["server"] == served.address
    assert probe["sent_bytes"] > 0
    code, out, _ = nnlint(*arguments, "--token-file", str(served.token))
    (again,) = json.loads(out)["probes"]
    assert again["losses"] == probe["losses"]
    assert psutil.pid_exists(served.process.pid)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("no-token", ["--tls-ca", "{ca}"], "wants a token"),
        ("wrong-token", ["--tls-ca", "{ca}", "--token-file", "wrong"], "does not accept the token"),
        ("plain", [], "speaks TLS, and it was spoken to in plain text"),
        ("authority", ["--tls"], "has a certificate that is not accepted"),
    ],
)
def test_a_wrong_connection_is_told_before_anything_is_captured(
    name: str, options: list[str], said: str, served: Served
) -> None:
    Path("wrong").write_text("not-the-token-of-the-server\n")
    filled = [option.format(ca=served.ca) for option in options]
    code, out, err = nnlint("probe", "net.py:Healthy", "--server", served.address, *filled)
    assert (code, out) == (2, ""), name
    assert len(err.splitlines()) == 2, err
    message, hint = err.splitlines()
    assert message.startswith(f"nnlint: error: {served.address} ")
    assert said in message
    assert hint.startswith("hint: ")
