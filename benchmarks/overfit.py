"""Count right verdicts of `--experiment overfit` on models that can learn by heart and that cannot.

Usage: python benchmarks/overfit.py [--only PART] [--write docs/accuracy.md]

Twenty sound ones: the twelve of faults/healthy with labels drawn at random, which have nothing to do
with the inputs and can only be learned by heart, and eight of them with labels that follow from the
inputs. Twenty broken ones, of which none can: a proof stands beside each fault below. The exit code
says whether all verdicts are right.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.faults.data import clustered
from benchmarks.faults.edits import before_head, chain, replace
from benchmarks.faults.table import FAULTS, MODELS, text_of
from benchmarks.mutations import Bench
from benchmarks.pages import versions, write_section
from nnlint.linter.experiments import Overfit
from nnlint.probe_service.options import OVERFIT_SAMPLES, ProbeOptions

BATCH = 14
IMAGE = (3, 32, 32)
# Model -> shape of a sample, classes, name of forward's parameter.
LEARNABLE: dict[str, tuple[tuple[int, ...], int, str]] = {
    "mlp": ((64,), 10, "x"),
    "lstm": ((), 4, "tokens"),
    "transformer": ((), 6, "tokens"),
    **dict.fromkeys(("cnn", "cnn_norm", "resnet", "densenet", "vit"), (IMAGE, 10, "images")),
}
# One bias for each class is trained: all samples get the same output, with whatever labels.
FROZEN = ("mlp", "cnn", "resnet", "lstm", "transformer", "discriminator")
# Probabilities as logits: cross-entropy stays above 1.46 for ten classes, and above 0.74 for four.
SOFTMAX = ("mlp", "cnn", "cnn_norm", "densenet", "vit", "lstm")
# Nothing of the input passes the dead layer.
DEAD = ("mlp", "cnn", "lstm", "transformer")
# The head sees zeros.
BLIND = ("cnn", "resnet", "vit")
# A linear map of eight features separates no 56 random labels of ten classes: 90 numbers.
LINEAR = chain(replace("features=64", "features=8"), replace("F.relu(", "("))


@dataclass(frozen=True, slots=True)
class Case:
    """One model file.

    Attributes:
        name: For people.
        model: Which it is made of.
        text: Its source.
        sound: Whether it can learn by heart.
        learnable: Whether its labels follow from its inputs.
    """

    name: str
    model: str
    text: str
    sound: bool
    learnable: bool = False


def cases() -> Iterator[Case]:
    """Yield the sound ones, then the broken ones."""
    for model in MODELS:
        yield Case(f"{model}, random labels", model, text_of(model), sound=True)
    for model in LEARNABLE:
        yield Case(
            f"{model}, labels from inputs", model, text_of(model), sound=True, learnable=True
        )
    faults = {fault.name: fault for fault in FAULTS}
    for name, models in (
        ("frozen layers", FROZEN),
        ("softmax before the loss", SOFTMAX),
        ("biases that kill units", DEAD),
    ):
        for model in models:
            text = faults[name].applied(model, text_of(model))
            assert text is not None
            yield Case(f"{model}, {name}", model, text, sound=False)
    for model in BLIND:
        text = before_head("x = torch.zeros_like(x)")(text_of(model))
        yield Case(f"{model}, input ignored", model, text, sound=False)
    yield Case("mlp, no nonlinearity", "mlp", LINEAR(text_of("mlp")), sound=False)


def batch_file(folder: Path, case: Case) -> str:
    """Write samples of its own where a case needs some, and return the file's name or ""."""
    model = case.model
    if case.learnable:
        shape, classes, name = LEARNABLE[model]
        inputs, labels = clustered(shape, classes, OVERFIT_SAMPLES)
    elif model == "unet":
        # Images of the drawn size have more labels than so small a model can hold.
        draw, name = torch.Generator().manual_seed(0), "images"
        inputs = torch.randn((OVERFIT_SAMPLES, 3, 8, 8), generator=draw)
        labels = torch.randint(5, (OVERFIT_SAMPLES, 8, 8), generator=draw)
    else:
        return ""
    path = folder / f"{model}.npz"
    np.savez(path, **{name: inputs.numpy(), "labels": labels.numpy()})
    return str(path)


def described(found: Overfit) -> str:
    """Return the losses of the last attempt, first and last."""
    last = found.attempts[-1]
    return f"{last.losses[0]:.3g} -> {last.losses[-1]:.3g} in {len(last.losses)} steps"


def main() -> int:
    """Print the verdicts that are wrong, and how many are right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="part of the names to run")
    parser.add_argument("--write", metavar="PAGE", type=Path, help="page that holds the table")
    arguments = parser.parse_args()
    count: Counter[tuple[bool, str]] = Counter()
    wrong: list[str] = []
    started = time.perf_counter()
    with Bench() as bench, tempfile.TemporaryDirectory() as folder:
        for case in cases():
            if arguments.only not in case.name:
                continue
            data = batch_file(Path(folder), case)
            options = ProbeOptions(experiments=("overfit",), batch_size=BATCH)
            outcome = bench.run(case.model, case.text, options, data=data)
            probes = outcome.report.probes
            measured = probes[-1].measured if probes else None
            found = measured.experiments.overfit if measured is not None else None
            if found is not None:
                verdict, why = ("learned" if found.reached else "not learned"), described(found)
            else:
                skipped = measured.experiments.skipped if measured is not None else {}
                verdict, why = "not judged", outcome.reason or str(skipped.get("overfit", ""))
            count[case.sound, verdict] += 1
            right = verdict == ("learned" if case.sound else "not learned")
            if not right:
                wrong.append(f"{case.name}: {verdict} ({why})")
            mark = "" if right else "  WRONG"
            print(f"{case.name}: {verdict}, {why}, {outcome.seconds:.1f} s{mark}", flush=True)
    verdicts = ("learned", "not learned", "not judged")
    lines = [
        f"{versions()}; {time.perf_counter() - started:.0f} s.",
        "",
        f"| models | {' | '.join(verdicts)} |",
        "|---|---|---|---|",
        *(
            f"| {name} | {' | '.join(str(count[sound, each]) for each in verdicts)} |"
            for name, sound in (("sound", True), ("broken", False))
        ),
        "",
        *(f"* wrong: {each}" for each in wrong),
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        write_section(arguments.write, "overfit", text)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
