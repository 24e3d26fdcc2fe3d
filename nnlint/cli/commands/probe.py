"""`nnlint probe`: run a few training steps of a model and say what happens in them."""

from __future__ import annotations

from typing import Any

import click

from nnlint.cli import options as shared

_POSITIVE = click.IntRange(min=1)
_RATE = click.FloatRange(min=0)
_ABOVE_0 = click.FloatRange(min=0, min_open=True)

_SERVER = (
    click.option(
        "--server",
        metavar="ADDRESS",
        help="host:port or unix:PATH of a probe service.  [default: one on this machine, for the "
        "time of the probe]",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        help="File with the server's token.  [default: $NNLINT_TOKEN]",
    ),
    click.option(
        "--tls", is_flag=True, default=None, help="Encrypt, and trust the system's authorities."
    ),
    click.option(
        "--tls-ca",
        metavar="FILE",
        help="Encrypt, and trust the authorities in FILE (PEM) that sign the server's certificate.",
    ),
    click.option("--tls-cert", metavar="FILE", help="Certificate of the client, for mutual TLS."),
    click.option("--tls-key", metavar="FILE", help="Its private key."),
)
_RUN = (
    click.option(
        "--data",
        metavar="FILE",
        help="A batch with labels: FILE.npz, FILE.safetensors, or FILE.py:LOADER.  [default: drawn "
        "at random]",
    ),
    click.option("--steps", type=_POSITIVE, help="Optimiser steps.  [default: 3]"),
    click.option(
        "--samples",
        type=click.IntRange(min=0),
        help="Samples over which units are judged dead or saturated.  [default: 256]",
    ),
    click.option(
        "--batch-size",
        type=_POSITIVE,
        help="Samples in a step.  [default: those of --input, else 16]",
    ),
    click.option(
        "--optimizer", type=click.Choice(["sgd", "adamw"]), help="What steps.  [default: sgd]"
    ),
    click.option(
        "--lr", type=_RATE, help="Learning rate.  [default: 0.01 for sgd, 0.001 for adamw]"
    ),
    click.option("--momentum", type=_RATE, help="Of sgd.  [default: 0]"),
    click.option("--weight-decay", type=_RATE, help="Of the optimiser.  [default: 0]"),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        help="Where to run; auto takes a GPU where there is one.  [default: auto]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16", "autocast", "autocast-float16"]),
        help="Of the arithmetic; autocast is bfloat16.  [default: float32]",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=(1 << 63) - 1),
        help="For drawn data and dropout.  [default: 0]",
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(min=0, min_open=True),
        help="Time that the run may take.  [default: 300]",
    ),
    click.option(
        "--fit-batch",
        is_flag=True,
        default=None,
        help="Halve the batch until memory suffices.",
    ),
    click.option(
        "--deterministic",
        is_flag=True,
        default=None,
        help="Use deterministic algorithms where there are any.",
    ),
)
_EXPERIMENTS = (
    click.option(
        "--experiment",
        multiple=True,
        metavar="NAMES",
        help="What to do: gradients, initial-loss, overfit, lr-range, isolation, train-eval, clip, "
        "input, seeds; comma-separated, repeatable.  [default: gradients]",
    ),
    click.option("--all", is_flag=True, default=None, help="Do all of them that the model allows."),
    click.option(
        "--histograms",
        is_flag=True,
        default=None,
        help="Count the values of activations, gradients and parameters by magnitude.",
    ),
    click.option(
        "--overfit-steps",
        type=_POSITIVE,
        help="Most steps for 56 samples to be learned by heart.  [default: 400]",
    ),
    click.option(
        "--lr-start", type=_ABOVE_0, help="First rate of the range test.  [default: 1e-7]"
    ),
    click.option("--lr-end", type=_ABOVE_0, help="Last rate of it.  [default: 10]"),
    click.option("--lr-steps", type=click.IntRange(min=2), help="Its steps.  [default: 100]"),
    click.option(
        "--lr-linear",
        is_flag=True,
        default=None,
        help="Equal differences between its rates, not equal factors.",
    ),
    click.option(
        "--max-norm", type=_ABOVE_0, help="Largest norm of clipped gradients.  [default: 4]"
    ),
    click.option(
        "--clip-steps", type=_POSITIVE, help="Steps without and with clipping.  [default: 10]"
    ),
    click.option("--seeds", type=_POSITIVE, help="Further initialisations.  [default: 4]"),
)
_RESULT = (
    click.option(
        "--baseline",
        metavar="FILE",
        help="JSON report of an earlier probe: say what has changed since.",
    ),
    click.option("--html", metavar="FILE", help="Also write the report as one page with charts."),
    click.option(
        "--tensorboard", metavar="DIR", help="Also write what TensorBoard shows into a folder."
    ),
)


@click.command(name="probe", short_help="Run a few training steps and say what happens in them.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@shared.grouped(
    _EXPERIMENTS,
    _RUN,
    _RESULT,
    _SERVER,
    shared.MODEL,
    shared.RULES,
    shared.LIMITS,
    shared.OUTPUT,
    shared.END,
)
def command(paths: tuple[str, ...], **options: Any) -> int:
    """Probe the models of files, or one model of a file (model.py:Net).

    Each model is linted and captured in a child process, as `nnlint check` does. Its graph, not
    its code, then runs for a few training steps, here or on --server: for each layer the size of
    activations, gradients and updates, dead and saturated units, and the operation that first made
    a value infinite or NaN. --experiment asks for more: whether the loss begins where it should,
    whether a few samples can be learned by heart, which learning rate fits.

    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 wrong usage, configuration, or a
    model that could not be probed.
    """
    from nnlint.cli.probing import probe

    return probe(paths, **options)
