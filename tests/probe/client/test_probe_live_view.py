"""What a terminal shows while a probe runs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from rich.console import Console

from nnlint.cli.live_view import LiveView
from nnlint.probe_service.capture.bundle import TensorSite
from nnlint.probe_service.client.narrator import Narrator, Standing
from nnlint.probe_service.client.request import Asked
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb
from tests.probe.client.fake import capture_of
from tests.probe.graphs import mlp

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

STANDING = Standing(
    model="Net\x1b[31m",
    experiment="overfit",
    position=2,
    experiments=5,
    step=43,
    steps=400,
    loss=1.23456,
    learning_rate=0.001,
    worst=(("conv1.weight", 1.2e-9), ("head.bias", None)),
    seconds_left=71.2,
)


class Heard:
    """A narrator with what it said and showed, on a clock that the test sets."""

    def __init__(self, *kinds: str) -> None:
        self.said: list[tuple[str, bool]] = []
        self.shown: list[Standing | None] = []
        self.now = 100.0
        self.watch = Narrator(
            lambda text, lasting: self.said.append((text, lasting)),
            server="",
            steps=3,
            picture=self.shown.append,
            clock=lambda: self.now,
        )
        self.watch.begin("Net")
        experiments = tuple(pb.Experiment(**{kind: {}}) for kind in kinds)
        names = ("x", "a.weight", "b.weight", "c.weight", "d.weight")
        capture = capture_of(mlp(), tensors=tuple(map(TensorSite, names)))
        self.watch.asked(capture, Asked(subject=None, experiments=experiments, skipped={}))  # type: ignore[arg-type]

    def hear(self, **event: Any) -> Standing | None:
        self.watch.event(pb.ProbeEvent(**event))
        return self.shown[-1]

    def lasting(self) -> list[str]:
        return [text for text, lasting in self.said if lasting]


def progress(step: int, **values: Any) -> pb.Progress:
    return pb.Progress(step=step, **{"steps": 400, "loss": 2.0, **values})


def test_each_experiment_is_told_with_its_place_and_the_time_that_is_left() -> None:
    heard = Heard("gradients", "overfit")
    heard.hear(stage=pb.Stage(kind=pb.Stage.KIND_RUNNING))
    first = heard.hear(progress=progress(10, experiment=1, learning_rate=0.5))
    assert first is not None
    assert (first.experiment, first.position, first.experiments) == ("overfit", 2, 2)
    assert (first.step, first.steps, first.loss, first.learning_rate) == (10, 400, 2.0, 0.5)
    assert first.seconds_left is None
    heard.now += 4
    second = heard.hear(progress=progress(50, experiment=1))
    assert second is not None
    assert second.seconds_left == pytest.approx(35)
    assert second.learning_rate is None
    heard.hear(experiment=measurement_pb2.ExperimentResult(experiment=1))
    assert heard.lasting()[1:] == [
        "Net: gradients (1 of 2)",
        "Net: running",
        "Net: overfit (2 of 2)",
        "Net: overfit is done",
    ]
    assert ("Net: overfit: step 50 of 400: loss 2", False) in heard.said


def test_the_time_that_is_left_begins_anew_with_each_experiment() -> None:
    heard = Heard("overfit", "clip")
    heard.hear(progress=progress(10))
    heard.now += 4
    heard.hear(progress=progress(50))
    heard.now += 4
    found = heard.hear(progress=progress(1, experiment=1))
    assert found is not None
    assert (found.experiment, found.seconds_left) == ("clip", None)


def test_the_layers_whose_gradients_are_furthest_from_the_others_are_named() -> None:
    heard = Heard("gradients")
    heard.hear(plan=measurement_pb2.MeasurementPlan(parameters=[1, 2, 3, 4]))
    statistics = measurement_pb2.StepStatistics(
        step=0, loss=2.5, parameter_gradient_rms=[1e-3, 1e-9, -1.0, 2e-3]
    )
    found = heard.hear(step=statistics)
    assert found is not None
    assert [name for name, _ in found.worst[:2]] == ["c.weight", "b.weight"]
    assert found.worst[0][1] is None
    assert found.worst[1][1] == pytest.approx(1e-9)
    assert (found.step, found.steps) == (1, 3)


@pytest.mark.parametrize(
    "event",
    [
        {"step": measurement_pb2.StepStatistics(step=9, parameter_gradient_rms=[1.0] * 9)},
        {"step": measurement_pb2.StepStatistics(parameter_gradient_rms=[float("nan"), 0.0])},
        {"progress": progress(7, steps=0, experiment=99, loss=float("nan"))},
        {"stage": pb.Stage(kind=pb.Stage.KIND_SAMPLING, experiment=99)},
        {"experiment": measurement_pb2.ExperimentResult(experiment=99)},
    ],
)
def test_what_does_not_fit_is_told_all_the_same(event: Any) -> None:
    heard = Heard("gradients", "clip")
    heard.hear(**event)
    heard.now += 1
    heard.hear(**event)


def test_another_model_a_restart_and_the_end_clear_the_picture() -> None:
    heard = Heard("overfit")
    for end in (
        heard.watch.restarted,
        lambda: heard.watch.begin("Other"),
        lambda: heard.watch.halved(4),
        lambda: heard.hear(result=measurement_pb2.Result()),
    ):
        assert heard.hear(progress=progress(1)) is not None
        end()
        assert heard.shown[-1] is None


def drawn(view: LiveView, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(view.drawn())
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_the_picture_says_step_loss_rate_time_and_gradients() -> None:
    view = LiveView()
    view.picture(STANDING)
    assert [line[1:].strip() for line in drawn(view)] == [
        "Net\\x1b[31m: overfit (2 of 5), step 43 of 400",
        "loss 1.235, lr 0.001, 1 min 11 s left at most",
        "gradients furthest from the others: conv1.weight 1.2e-09, head.bias none",
    ]
    view.picture(None)
    view("capturing a training step of net.py")
    assert drawn(view)[0][1:] == " capturing a training step of net.py (0 s)"


def test_the_picture_is_cut_at_the_width_of_the_terminal() -> None:
    view = LiveView()
    view.picture(STANDING)
    lines = drawn(view, width=40)
    assert len(lines) == 3
    assert all(len(line) <= 40 for line in lines)


def test_the_picture_is_erased_at_the_end() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with LiveView(console=console) as view:
        view.begin()
        view.picture(STANDING)
        assert view._live is not None
        view._live.refresh()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "step 43 of 400" in text
    assert text.rstrip().endswith("\x1b[2K")


def on_terminal(code: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    text = b"".join(_read(ours)).decode()
    os.close(ours)
    assert process.wait(60) == 0
    return text


def _read(terminal: int) -> Iterable[bytes]:
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # what Linux says at the end of a terminal
            return
        if not part:
            return
        yield part


SHOWN = """
from nnlint.cli.live_view import LiveView
with LiveView(enabled={enabled}, lines=True) as view:
    view.say("loading the weights", True)
    if {begun}:
        view.begin()
"""


def test_a_terminal_shows_it_and_gets_no_lines() -> None:
    text = on_terminal(SHOWN.format(enabled=True, begun=True))
    assert " loading the weights (0 s)" in text
    assert "nnlint: " not in text
    assert text.rstrip().endswith("\x1b[2K")


@pytest.mark.parametrize("enabled", [True, False])
def test_a_quick_or_quiet_probe_shows_nothing(enabled: bool) -> None:
    assert on_terminal(SHOWN.format(enabled=enabled, begun=False)) == ""


def test_where_there_is_no_terminal_there_are_lines_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LiveView(lines=True) as view:
        view.picture(STANDING)
        view.say("running", lasting=True)
        view.say("step 3", lasting=False)
    with LiveView(enabled=False, lines=True) as view:
        view.say("running", lasting=True)
    assert capsys.readouterr().err == "nnlint: running\n"
