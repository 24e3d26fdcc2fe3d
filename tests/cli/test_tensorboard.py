"""What `--tensorboard` writes, read back with TensorBoard's own reader."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnlint.cli.tensorboard import check_tensorboard, write_tensorboard
from nnlint.errors import UsageError
from nnlint.linter.findings import Report
from tests.probe.client import made


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(found: Any, tag: str) -> list[float]:
    return [event.value for event in found.Scalars(tag)]


def report(**changes: Any) -> Report:
    whole = made.report()
    return dataclasses.replace(
        whole, probes=(made.probed(measured=made.measured(**changes)), *whole.probes[1:])
    )


def test_losses_layers_and_curves_are_scalars(tmp_path: Path) -> None:
    write_tensorboard(report(experiments=made.experiments()), str(tmp_path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["Net", "Other"]
    found = events(tmp_path / "Net")
    assert scalars(found, "loss") == pytest.approx([2.3026, 2.3011, 2.2987])
    assert scalars(found, "gradient/stem") == pytest.approx([1.5e-7] * 3)
    assert scalars(found, "activation/head") == pytest.approx([0.5, 0.5, 0.5 / 6])
    assert scalars(found, "update/head") == pytest.approx([0.001, 0.001, 0.002])
    assert [event.step for event in found.Scalars("lr-range/loss")] == list(range(40))
    assert scalars(found, "lr-range/log10_rate")[0] == pytest.approx(-7)
    assert len(scalars(found, "overfit/lr_0.01")) == 43
    assert math.isinf(scalars(found, "clip/norm_without")[2])
    assert math.isnan(scalars(events(tmp_path / "Other"), "loss")[0])


def test_findings_and_verdicts_are_text(tmp_path: Path) -> None:
    write_tensorboard(report(experiments=made.experiments()), str(tmp_path))
    found = events(tmp_path / "Net")
    (text,) = found.Tensors("findings/text_summary")
    content = text.tensor_proto.string_val[0].decode()
    assert "**overfit**: 56 samples learned by heart" in content
    assert "warning: the gradient of stem is 280 thousand times smaller" in content


def test_histograms_are_those_of_the_binary_logarithm(tmp_path: Path) -> None:
    counts = [0] * 64
    # Below 2^-40, in [1/2, 1), 2^21 and more, and not finite.
    counts[0], counts[40], counts[62], counts[63] = 5, 3, 2, 9
    parameter = dataclasses.replace(
        made.measured().parameters[0], histograms=(tuple(counts), (0,) * 64)
    )
    write_tensorboard(report(parameters=(parameter,)), str(tmp_path))
    found = events(tmp_path / "Net")
    assert found.Tags()["histograms"] == ["log2_parameters/stem.weight"]
    (event,) = found.Histograms("log2_parameters/stem.weight")
    histogram = event.histogram_value
    held = {
        limit: count
        for limit, count in zip(histogram.bucket_limit, histogram.bucket, strict=True)
        if count
    }
    assert held == {-40.0: 5, 0.0: 3, 22.0: 2}
    assert (histogram.num, histogram.min, histogram.max) == (10, -41, 22)


def test_another_probe_becomes_another_run(tmp_path: Path) -> None:
    write_tensorboard(report(), str(tmp_path / "runs"))
    write_tensorboard(report(), str(tmp_path / "runs"))
    names = sorted(each.name for each in (tmp_path / "runs").iterdir())
    assert names == ["Net", "Net-2", "Other", "Other-2"]
    assert scalars(events(tmp_path / "runs" / "Net-2"), "loss")


def test_a_hostile_name_stays_in_the_folder(tmp_path: Path) -> None:
    hostile = made.probed(model="../../outside\n")
    write_tensorboard(Report(probes=(hostile,)), str(tmp_path / "runs"))
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == "_.._outside_"
    assert [each.name for each in tmp_path.iterdir()] == ["runs"]


def test_without_tensorboardx_the_install_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs tensorboardX") as caught:
        check_tensorboard(str(tmp_path))
    assert caught.value.hint == "pip install 'nnlint[tensorboard]'"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write into"):
        check_tensorboard(str(tmp_path / "file" / "runs"))


def test_the_command_line_imports_no_tensorboard() -> None:
    code = "import sys, nnlint.cli.probing; print('tensorboardX' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
