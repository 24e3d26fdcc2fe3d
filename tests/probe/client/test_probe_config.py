from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnlint.cli.probing import choose, options_of
from nnlint.errors import ConfigError
from nnlint.linter.config import load_config
from nnlint.linter.settings import ProbeSettings
from nnlint.probe_service import asking

FULL = """
[tool.nnlint.probe]
server = "gpu-box:7478"
token-file = "secrets/token"
tls-ca = "/etc/ca.pem"
data = "batch.npz"
steps = 5
batch-size = 8
optimizer = "adamw"
lr = 0.1
seconds = 30
fit-batch = true
"""


def write(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)


def test_a_full_table_becomes_settings_with_files_below_its_folder(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    assert load_config(tmp_path).probe == ProbeSettings(
        server="gpu-box:7478",
        token_file=str(tmp_path / "secrets/token"),
        tls_ca="/etc/ca.pem",
        data=str(tmp_path / "batch.npz"),
        steps=5,
        batch_size=8,
        optimizer="adamw",
        lr=0.1,
        seconds=30.0,
        fit_batch=True,
    )


def test_without_a_table_everything_is_left_open(tmp_path: Path) -> None:
    write(tmp_path, "[tool.nnlint]\n")
    assert load_config(tmp_path).probe == ProbeSettings()


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("step = 3", "tool.nnlint.probe.step: unknown key", "did you mean 'steps'?"),
        ("batch_size = 3", "tool.nnlint.probe.batch_size: unknown key", "'batch-size'"),
        ("steps = 0", "tool.nnlint.probe.steps: ", ""),
        ('steps = "3"', "tool.nnlint.probe.steps: ", ""),
        ("lr = inf", "tool.nnlint.probe.lr: ", ""),
        ('device = "tpu"', "tool.nnlint.probe.device: ", ""),
        ('experiment = "over-fit"', "tool.nnlint.probe.experiment: unknown experiment", "overfit"),
        ("lr-steps = 1", "tool.nnlint.probe.lr-steps: ", ""),
        ("max-norm = 0", "tool.nnlint.probe.max-norm: ", ""),
        ("seed = -1", "tool.nnlint.probe.seed: ", ""),
    ],
)
def test_a_wrong_key_or_value_is_named(line: str, said: str, hint: str, tmp_path: Path) -> None:
    write(tmp_path, f"[tool.nnlint.probe]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert said in str(caught.value)
    assert hint in caught.value.hint


EXPERIMENTS = """
[tool.nnlint.probe]
experiment = ["overfit, clip", "lr-range"]
lr-linear = true
max-norm = 1
baseline = "old.json"
html = "report.html"
tensorboard = "runs"
"""


def test_experiments_and_what_is_written_are_read_from_the_file(tmp_path: Path) -> None:
    write(tmp_path, EXPERIMENTS)
    assert load_config(tmp_path).probe == ProbeSettings(
        experiment=("overfit", "clip", "lr-range"),
        lr_linear=True,
        max_norm=1.0,
        baseline=str(tmp_path / "old.json"),
        html=str(tmp_path / "report.html"),
        tensorboard=str(tmp_path / "runs"),
    )


@pytest.mark.parametrize(
    ("line", "options", "experiments"),
    [
        ('experiment = "clip"', {}, ("clip",)),
        ('experiment = "clip"', {"experiment": ("seeds,input", "seeds")}, ("seeds", "input")),
        ('experiment = "clip"', {"all": True}, asking.kinds()),
        ("all = true", {}, asking.kinds()),
        ("all = true", {"experiment": ("input",)}, ("input",)),
        ("", {"experiment": ()}, ("gradients",)),
    ],
)
def test_the_command_line_wins_over_the_file(
    line: str, options: dict[str, Any], experiments: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, f"[tool.nnlint.probe]\n{line}\n")
    assert options_of(choose(load_config(tmp_path).probe, options)).experiments == experiments
