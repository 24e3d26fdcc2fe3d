"""`nnlint serve`: the probe service."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from nnlint.probe_service.server.settings import Settings

_UNITS = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only for newer click
    """A number of bytes: 500MB, 20GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        digits = text.rstrip("kmgtb")
        try:
            number = float(digits) * _UNITS[text[len(digits) :]]
        except (ValueError, KeyError):
            number = 0.0
        if not 1 <= number < 1 << 60:
            self.fail(f"{value!r} is no size such as 500MB or 20GB", param, ctx)
        return int(number)


@click.command(name="serve", short_help="Run the probe service, for other machines too.")
@click.option(
    "--listen",
    default="127.0.0.1:7478",
    metavar="ADDRESS",
    show_default=True,
    help="host:port or unix:PATH. An address that the network reaches needs TLS and a token.",
)
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where uploaded weights are kept.  [default: in the user's cache folder]",
)
@click.option("--store-size", type=Size(), default="20GB", metavar="SIZE", show_default=True)
@click.option(
    "--token-file",
    type=_FILE,
    metavar="FILE",
    help="Tokens, one a line, of which clients need one. NNLINT_TOKEN gives a single one.",
)
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="The server's certificate chain, PEM.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its private key, PEM.")
@click.option(
    "--client-ca",
    type=_FILE,
    metavar="FILE",
    help="Admit only clients with a certificate of this authority (mutual TLS).",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=("auto",),
    metavar="DEVICE",
    show_default=True,
    help="auto (every GPU, and the CPU), cpu, cuda, cuda:0; may be given several times.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="Threads of a probe on the CPU.  [default: one a core]",
)
@click.option(
    "--memory",
    type=Size(),
    metavar="SIZE",
    help="Memory of a probe on the CPU.  [default: four fifths of the machine's]",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Probes that may wait for each kind of device.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(min=1.0),
    default=600.0,
    show_default=True,
    help="Longest run of a probe.",
)
@click.option(
    "--max-steps", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of a probe."
)
@click.option(
    "--max-elements",
    type=click.IntRange(min=1),
    default=1 << 31,
    show_default=True,
    help="Elements of one tensor.",
)
@click.option("--max-blob", type=Size(), default="8GB", metavar="SIZE", show_default=True)
@click.option(
    "--grace",
    type=click.FloatRange(min=0.0),
    default=30.0,
    show_default=True,
    help="Seconds that running probes get when the server is told to stop.",
)
@click.option(
    "--metrics", default="", metavar="HOST:PORT", help="Answer Prometheus on a loopback address."
)
@click.option(
    "--reflection", is_flag=True, help="Let clients such as grpcurl ask for the protocol."
)
@click.option(
    "--log-format",
    type=click.Choice(["json", "text"]),
    default=None,
    help="Of the log on standard error.  [default: text on a terminal, else json]",
)
@click.option(
    "--announce",
    type=click.IntRange(min=0),
    metavar="FD",
    help="Write one JSON line with the address to this descriptor once the server listens.",
)
@click.option(
    "--parent-fd",
    type=click.IntRange(min=0),
    metavar="FD",
    help="Stop when this descriptor, the reading end of a pipe, ends.",
)
def command(**options: Any) -> int:
    """Run the probe service, for this machine or for others.

    It runs graphs that clients send, from a reviewed list of operators, and never their code.
    Stop it with Ctrl-C or SIGTERM: probes that run get a grace period, and a second signal ends
    them. Exit code 0, 1 where running probes were lost, 2 where it could not start.
    """
    settings = settings_from(**options)
    from nnlint.probe_service.server.serve import run

    return run(settings)


def settings_from(
    *,
    listen: str,
    store: Path | None,
    store_size: int,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    devices: tuple[str, ...],
    threads: int,
    memory: int | None,
    queue: int,
    max_seconds: float,
    max_steps: int,
    max_elements: int,
    max_blob: int,
    grace: float,
    metrics: str,
    reflection: bool,
    log_format: Literal["json", "text"] | None,
    announce: int | None,
    parent_fd: int | None,
) -> Settings:
    """Return the settings that the options give.

    Raises:
        UsageError: They contradict each other.
    """
    from nnlint.errors import UsageError
    from nnlint.probe_service.server.settings import Limits, Settings, Tls, read_tokens

    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    if client_ca is not None and tls_cert is None:
        raise UsageError("--client-ca needs --tls-cert and --tls-key")
    return Settings(
        listen=listen,
        store=store,
        store_bytes=store_size,
        tokens=read_tokens(token_file, os.environ.get("NNLINT_TOKEN")),
        tls=Tls(tls_cert, tls_key, client_ca) if tls_cert and tls_key else None,
        metrics=metrics,
        reflection=reflection,
        limits=Limits(
            blob_bytes=max_blob, steps=max_steps, elements=max_elements, seconds=max_seconds
        ),
        queue=queue,
        devices=devices,
        threads=threads,
        memory_bytes=memory or 0,
        grace=grace,
        log_format=log_format or ("text" if sys.stderr.isatty() else "json"),
        announce=announce,
        parent=parent_fd,
    )
