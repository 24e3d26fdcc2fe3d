"""What `nnlint probe` does: lint and capture each model, run it on a server, join what both say."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from nnlint.cli.checking import (
    STDIN,
    check_paths,
    deliver,
    find_configuration,
    merge,
    model_settings,
    texts_of,
    without_excluded,
)
from nnlint.cli.formats import parse_destinations
from nnlint.cli.live_view import LiveView
from nnlint.cli.tensorboard import check_tensorboard, write_tensorboard
from nnlint.errors import (
    CaptureError,
    NoModelError,
    ServiceError,
    UnauthenticatedError,
    UnreachableError,
    UsageError,
)
from nnlint.linter.experiments import parse_names
from nnlint.linter.findings import Location, Report
from nnlint.linter.settings import LintSettings, ProbeSettings

if TYPE_CHECKING:
    from nnlint.linter.comparison import Comparison
    from nnlint.linter.load.pool import Pool
    from nnlint.probe_service.capture.bundle import Capture, CaptureRefused
    from nnlint.probe_service.client.address import Address
    from nnlint.probe_service.client.embedded import Embedded
    from nnlint.probe_service.client.narrator import Narrator
    from nnlint.probe_service.client.report import Judged
    from nnlint.probe_service.client.session import Session
    from nnlint.probe_service.options import ProbeOptions

NOT_PROBED = 2
_SIGNALLED = 128
_RENAMED = {"lr": "learning_rate"}


def probe(paths: Sequence[str], **options: Any) -> int:
    """Run `nnlint probe` and return the exit code."""
    if STDIN in paths:
        raise UsageError("a probe takes files, not standard input")
    check_paths(paths, "", command="nnlint probe")
    options["stdin_filename"] = ""
    default_model = model_settings(options["arguments"], options["inputs"], options["loss"])
    destinations = parse_destinations(options["formats"])
    config = find_configuration(paths, options)
    choice = choose(config.probe, options)
    probe_options = options_of(choice)
    if choice.html or any(place.format == "html" for place in destinations):
        from nnlint.cli.report import check_report

        check_report()
        probe_options = dataclasses.replace(probe_options, predict=True)
    baseline = _baseline(choice.baseline)
    _check_written(choice)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended_in_order())
        address = address_of(choice)
        server = address or _embedded(stack)
        from nnlint.linter.load.pool import Pool

        # Both import torch, while this process does other things.
        pool = stack.enter_context(Pool())
        pool.start()
        settings = merge(config, options, default_model)
        destinations = destinations or parse_destinations(config.output.output_format)
        progress = stack.enter_context(
            LiveView(enabled=not options["quiet"], lines=options["verbose"])
        )
        run = _Run(settings, probe_options, data=choice.data, pool=pool, progress=progress)
        watch = _watch(progress, choice, probe_options)
        report = run.do(without_excluded(paths, config), server, watch)
    if baseline is not None:
        report = dataclasses.replace(report, comparison=baseline(report))
    code = deliver(report, destinations, config, options)
    _write(report, choice)
    missed = not all(probed.complete for probed in report.probes)
    return NOT_PROBED if not code and missed and not options["exit_zero"] else code


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Leave no process and no file behind where a terminal closes or a time limit passes."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(_SIGNALLED + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    alone = threading.current_thread() is threading.main_thread()
    # One that is ignored, as nohup does, stays so.
    before = {
        number: signal.signal(number, leave)
        for number in numbers
        if alone and signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def choose(settings: ProbeSettings, options: Mapping[str, Any]) -> ProbeSettings:
    """Return what holds: the command line wins over the file."""
    names = [field.name for field in dataclasses.fields(ProbeSettings)]
    given = {name: options[name] for name in names if options.get(name) not in {None, ()}}
    if "experiment" in given and "all" in given:
        raise UsageError("--all and --experiment exclude each other")
    # Each of the two stands for what is done, so that it takes the place of the other in the file.
    if "experiment" in given:
        given |= {"experiment": parse_names(given["experiment"]), "all": None}
    return dataclasses.replace(settings, **given)


def options_of(choice: ProbeSettings) -> ProbeOptions:
    """Return how a probe is run, with the defaults of the probe service."""
    from nnlint.probe_service.client.request import check_options, kinds_of
    from nnlint.probe_service.options import ProbeOptions

    names = {field.name for field in dataclasses.fields(ProbeOptions)}
    values = {
        _RENAMED.get(field.name, field.name): getattr(choice, field.name)
        for field in dataclasses.fields(choice)
    }
    if choice.all or choice.experiment:
        values["experiments"] = kinds_of(["all"] if choice.all else choice.experiment)
    given = {name: value for name, value in values.items() if name in names and value is not None}
    options = ProbeOptions(**given)
    check_options(options)
    return options


def address_of(choice: ProbeSettings) -> Address | None:
    """Return the service to ask, None for one of nnlint's own."""
    from nnlint.probe_service.client.address import parse_address

    if not choice.server:
        names = ("token_file", "tls", "tls_ca", "tls_cert", "tls_key")
        for name in names:
            if getattr(choice, name):
                raise UsageError(f"--{name.replace('_', '-')} goes with --server")
        return None
    return parse_address(
        choice.server,
        token_file=choice.token_file,
        tls=bool(choice.tls),
        tls_ca=choice.tls_ca,
        tls_cert=choice.tls_cert,
        tls_key=choice.tls_key,
    )


def _baseline(path: str) -> Callable[[Report], Comparison] | None:
    """Return what compares a report with an earlier one, which is read before anything is run."""
    if not path:
        return None
    from nnlint.linter.baseline import read_baseline
    from nnlint.linter.comparison import compare

    earlier = read_baseline(path)
    return lambda report: compare(report, earlier, path)


def _check_written(choice: ProbeSettings) -> None:
    """Raise UsageError where what is to be written cannot be, before anything is run."""
    if choice.html:
        from nnlint.cli.report import check_report

        check_report()
        if not Path(choice.html).parent.is_dir():
            raise UsageError(f"no such folder: {Path(choice.html).parent}")
    if choice.tensorboard:
        check_tensorboard(choice.tensorboard)


def _write(report: Report, choice: ProbeSettings) -> None:
    if choice.html:
        from nnlint.cli.report import write_html

        write_html(report, choice.html)
    if choice.tensorboard:
        write_tensorboard(report, choice.tensorboard)


def _embedded(stack: contextlib.ExitStack) -> Embedded:
    from nnlint.probe_service.client.embedded import Embedded

    server = stack.enter_context(Embedded())
    server.start()
    return server


def _watch(view: LiveView, choice: ProbeSettings, probe_options: ProbeOptions) -> Narrator:
    from nnlint.probe_service.client.narrator import Narrator

    return Narrator(view.say, server=choice.server, steps=probe_options.steps, picture=view.picture)


class _Run:
    """One call of `nnlint probe`."""

    def __init__(
        self,
        settings: LintSettings,
        options: ProbeOptions,
        *,
        data: str,
        pool: Pool,
        progress: LiveView,
    ) -> None:
        from nnlint.linter.selection import resolve

        self.settings = settings
        self.options = options
        self.data = data
        self.pool = pool
        self.progress = progress
        self.rules = resolve(settings.select, settings.ignore)
        # Why no further model has to be tried.
        self.lost: ServiceError | None = None

    def do(self, paths: Sequence[str], server: Address | Embedded, watch: Narrator) -> Report:
        """Probe every model below the paths."""
        from nnlint.linter.suppress import apply_to_run
        from nnlint.probe_service.client.address import Address
        from nnlint.probe_service.client.report import merged
        from nnlint.probe_service.client.session import Session

        with contextlib.ExitStack() as stack:
            session: Session | None = None
            if isinstance(server, Address):
                # A wrong token or name is better told before a minute of capturing.
                session = stack.enter_context(Session(server, watch=watch))
                session.connect()
            reports = []
            for path, report, captures in self.captured(paths):
                if session is None and any(map(_is_capture, captures)):
                    session = stack.enter_context(Session(server, watch=watch))
                reports.append(self.probed(path, report, captures, session, watch))
        if not reports:
            raise NoModelError(f"no PyTorch models below {', '.join(paths)}")
        whole = merged(reports)
        return apply_to_run(whole, texts_of(whole, {}), self.rules, self.settings)

    def captured(self, paths: Sequence[str]) -> Any:
        """Yield each file with its lint and the captures of its models."""
        from nnlint.linter.load.files import find_files

        for file in find_files(paths):
            for path in [f"{file.path}:{name}" for name in file.names] or [file.path]:
                try:
                    report, captures = self.capture(path, self.options)
                except NoModelError:
                    if file.explicit:
                        raise
                    continue
                yield path, report, captures

    def capture(
        self, path: str, options: ProbeOptions
    ) -> tuple[Report, tuple[Capture | CaptureRefused, ...]]:
        """Lint a file and capture its models, in a process of their own."""
        from nnlint.probe_service.capture.driver import capture_file

        return capture_file(
            path,
            self.settings,
            rules=self.rules,
            options=options,
            data=self.data,
            pool=self.pool,
            progress=lambda text: self.progress(f"{text}, and capturing a training step"),
        )

    def probed(
        self,
        path: str,
        report: Report,
        captures: Sequence[Capture | CaptureRefused],
        session: Session | None,
        watch: Narrator,
    ) -> Report:
        """Run the captures of one file and join what both say."""
        from nnlint.probe_service.capture.bundle import Capture
        from nnlint.probe_service.client.report import refused, with_probe

        for model, capture in zip(report.models, captures, strict=True):
            if isinstance(capture, Capture):
                assert session is not None
                watch.begin(capture.model)
                judged = self.judged(path, capture, session)
            else:
                place = Location(model.path, model.line)
                judged = refused(capture, place, self.options.seed)
            report = with_probe(report, judged)
        return report

    def judged(self, path: str, capture: Capture, session: Session) -> Judged:
        """Run one capture and have the rules judge it."""
        from nnlint.linter.selection import rules_for
        from nnlint.probe_service.client.report import judge, unserved

        def recapture(size: int) -> Capture:
            return self.recapture(path, capture.model, size)

        try:
            if self.lost is not None:
                raise self.lost
            outcome = session.probe(capture, self.options, recapture)
        except (ServiceError, CaptureError) as error:
            if isinstance(error, UnreachableError | UnauthenticatedError):
                self.lost = error
            return unserved(capture, error, self.options.seed)
        rules = rules_for(capture.location.path, self.rules, self.settings)
        server = "" if session.embedded else str(session.service.address)
        return judge(outcome, self.options, rules, server=server)

    def recapture(self, path: str, name: str, batch_size: int) -> Capture:
        """Capture a model again with a smaller batch."""
        from nnlint.probe_service.capture.bundle import Capture

        file = path.removesuffix(f":{name}")
        options = dataclasses.replace(self.options, batch_size=batch_size)
        _, captures = self.capture(f"{file}:{name}", options)
        first = captures[0]
        if not isinstance(first, Capture):
            raise CaptureError(first.reason, location=first.location, hint=first.hint)
        return first


def _is_capture(each: object) -> bool:
    from nnlint.probe_service.capture.bundle import Capture

    return isinstance(each, Capture)
