from __future__ import annotations

from typing import Any

import pytest

from nnlint.cli.live_view import LiveView
from nnlint.errors import CaptureError, RefusedError
from nnlint.linter.findings import Finding, Location, Report, Severity
from nnlint.linter.rules.base import all_rules
from nnlint.probe_service.capture.bundle import Capture, CaptureRefused
from nnlint.probe_service.client import report, telling
from nnlint.probe_service.client.narrator import Narrator
from nnlint.probe_service.client.outcome import Outcome
from nnlint.probe_service.client.upload import Uploaded
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe.client.fake import whole_story

OPTIONS = ProbeOptions()


def outcome(capture: Capture, **result: Any) -> Outcome:
    values = {"status": measurement_pb2.Result.STATUS_COMPLETED, **result}
    steps = [measurement_pb2.StepStatistics(step=i, loss=2.0 - i, measured=True) for i in range(2)]
    return Outcome(
        capture,
        measurement_pb2.MeasurementPlan(),
        steps,
        measurement_pb2.Result(**values),
        Uploaded(2, 1000, 0.5),
        pb.GetCapabilitiesResponse(torch_version="2.13.0", limits=pb.Limits(samples=100)),
    )


def test_a_completed_probe_is_told_with_what_was_run(capture: Capture) -> None:
    told = telling.probed(outcome(capture), OPTIONS, "gpu-box:7478")
    assert told.complete
    assert (told.model, told.path, told.line) == ("Net", "net.py", 5)
    assert (told.sent_bytes, told.server, told.torch) == (1000, "gpu-box:7478", "2.13.0")
    assert told.measured is not None
    assert told.measured.losses == (2.0, 1.0)
    assert told.notes == ("the server looks at 100 samples at most",)


@pytest.mark.parametrize(
    ("status", "name", "hint"),
    [
        ("OUT_OF_MEMORY", "out-of-memory", "--fit-batch"),
        ("OPERATOR_FAILED", "operator-failed", ""),
        ("WORKER_CRASHED", "worker-crashed", "log"),
        ("TIMED_OUT", "timed-out", "--seconds"),
        ("CANCELLED", "cancelled", ""),
    ],
)
def test_a_probe_that_ended_early_is_told_with_the_line(
    status: str, name: str, hint: str, capture: Capture
) -> None:
    value = measurement_pb2.Result.Status.Value(f"STATUS_{status}")
    told = telling.probed(outcome(capture, status=value, node=2, message="it ended."), OPTIONS, "")
    assert told.status == name
    assert told.reason == "it ended"
    assert hint in told.hint
    assert told.location == Location("net.py", 12)
    nowhere = telling.probed(outcome(capture, status=value, node=10**6), OPTIONS, "")
    assert nowhere.location is None
    assert nowhere.reason


def test_a_smaller_batch_is_mentioned(capture: Capture) -> None:
    fitting = ProbeOptions(fit_batch=True, batch_size=64, samples=0)
    (note,) = telling.probed(outcome(capture), fitting, "").notes
    assert note == "the batch was made smaller, from 64 to 8, to fit"


def test_a_refusal_is_told_with_its_line_and_hint() -> None:
    refusal = CaptureRefused("Net", Location("other.py", 7), "it branches", "try this")
    told = report.refused(refusal, Location("net.py", 5), 3).probed
    assert (told.status, told.path, told.line, told.seed) == ("not-probed", "net.py", 5, 3)
    assert (told.reason, told.hint, told.location) == ("it branches", "try this", refusal.location)


def test_an_error_of_the_service_is_told_for_its_model(capture: Capture) -> None:
    told = report.unserved(capture, RefusedError("no.", hint="do"), 0).probed
    assert (told.model, told.reason, told.hint, told.measured) == ("Net", "no", "do", None)
    located = report.unserved(capture, CaptureError("x", location=Location("a.py", 1)), 0).probed
    assert located.location == Location("a.py", 1)


def test_reports_of_files_become_one_in_order(capture: Capture) -> None:
    def made(path: str) -> Report:
        finding = Finding("r", "NNL990", Severity.NOTE, "m", Location(path, 3))
        return Report((finding,), sources={path: "text"})

    judged = report.judge(outcome(capture), OPTIONS, all_rules())
    assert {check.model for check in judged.checks} == {"Net"}
    first = report.with_probe(made("b.py"), judged)
    whole = report.merged([first, made("a.py")])
    assert [finding.location.path for finding in whole] == ["a.py", "b.py"]
    assert set(whole.sources) == {"a.py", "b.py"}
    assert whole.probes == (judged.probed,)


def test_progress_is_written_in_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = LiveView(lines=True)
    watch = Narrator(view.say, server="gpu-box:7478", steps=2, picture=view.picture)
    device = pb.Device(kind="cuda", name="NVIDIA H100")
    watch.connected(
        pb.GetCapabilitiesResponse(nnlint_version="0.1", torch_version="2.13", devices=[device])
    )
    watch.begin("Net\x1b")
    watch.uploading(10**6, 4 * 10**6)
    watch.uploading(4 * 10**6, 4 * 10**6)
    for event in whole_story():
        watch.event(event)
    watch.waiting("gpu-box:7478 refuses the connection", 0.25)
    watch.restarted()
    watch.halved(8)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "nnlint: connected to gpu-box:7478: nnlint 0.1, torch 2.13, NVIDIA H100"
    assert lines[2].startswith("nnlint: Net\\x1b: sent 4.0 of 4.0 MB")
    assert lines[3:] == [
        "nnlint: Net\\x1b: waiting for a worker",
        "nnlint: Net\\x1b: running",
        "nnlint: Net\\x1b: step 1 of 2: loss 2",
        "nnlint: Net\\x1b: step 2 of 2: loss 1",
        "nnlint: Net\\x1b: completed",
        "nnlint: Net\\x1b: gpu-box:7478 refuses the connection; trying again in 0.2 s",
        "nnlint: Net\\x1b: the server has lost the probe; running it again",
        "nnlint: Net\\x1b: out of memory; trying a batch of 8",
    ]


def test_without_verbose_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Narrator(LiveView().say, server="", steps=2)
    watch.begin("Net")
    watch.uploading(1, 1)
    for event in whole_story():
        watch.event(event)
    assert capsys.readouterr().err == ""
