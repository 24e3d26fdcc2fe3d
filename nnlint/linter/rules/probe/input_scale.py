"""The rule input-scale (NNL813)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.outcome import unfinished
from nnlint.linter.rules.probe.reading import MAPS, PASSING, RECURRENT, by_index, short

if TYPE_CHECKING:
    from nnlint.linter.experiments import InputStatistics
    from nnlint.linter.measured import Measured

# Root mean square of an input; initialisers are made for 1, and images from 0 to 255 have 130.
LARGE = 10.0
# So few labels may be equal by chance.
LEAST_LABELS = 16
# Share of the most frequent label from which it is worth a note.
MAJORITY = 0.9
# Share of samples that are equal to another one.
REPEATED = 0.1


class InputScale(ProbeRule):
    """The user's batch is not finite, not normalised, constant, repeated, or of one label.

    ## What it does
    Looks at the inputs and labels that `--data` gives, before the model sees them.

    ## Why is this bad?
    Initialisers are made for inputs of about unit size. Images from 0 to 255 make the first
    activations and all gradients a hundred times larger, so that the loss begins high and the usual
    learning rates diverge. A batch that is constant or of one label shows a broken loader.

    ## Example
    ```python
    # nnlint probe --experiment input --data model.py:batch
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()


    def batch():
        torch.manual_seed(0)
        return torch.randint(256, (64, 32)).float(), torch.randint(10, (64,))
    ```

    ## Use instead
    ```python
    # nnlint probe --experiment input --data model.py:batch
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()


    def batch():
        torch.manual_seed(0)
        return torch.randint(256, (64, 32)).float() / 255, torch.randint(10, (64,))
    ```

    ## How it is decided
    NaN or infinity in an input or target is an error. A floating-point input with a root mean square
    above 10 is a warning where the first layer takes it as it is; a model that scales or normalises
    it first is left alone. One value in the only floating-point input is a warning. Of at least 16
    labels, one for each sample: all the same is a warning, 90 % of one class a note. A tenth of the
    samples equal to others is a note, all of them a warning. Drawn data are not judged.

    ## Known limits
    Only the batches that the probe takes are seen. A regression's targets may have any scale.

    ## References
    - LeCun et al.: Efficient BackProp, 1998, section 4.3 (normalising the inputs)
    - He et al.: Delving deep into rectifiers, 2015, https://arxiv.org/abs/1502.01852 (section 2.2)
    """

    name = "input-scale"
    code = "NNL813"
    severity = Severity.WARNING
    experiment = "input"

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report what is wrong with each input and target."""
        found = measured.experiments.input
        if measured.data != "user":
            yield NotChecked("the data are drawn at random; --data gives your own")
        elif found is None:
            yield NotChecked(unfinished(measured, self.experiment))
        else:
            raw = _is_taken_raw(measured)
            floats = [each for each in found.tensors if not each.target and _is_float(each)]
            problems = [
                problem
                for each in found.tensors
                if (problem := _problem(each, found.samples, raw=raw, only=floats == [each]))
            ]
            yield from self._found(measured, problems)

    def _found(self, measured: Measured, problems: list[_Problem]) -> Iterator[Finding]:
        # One finding for each severity: findings of one rule at one place become one.
        for severity in Severity:
            mine = [problem for problem in problems if problem[0] is severity]
            if mine:
                yield self.report(
                    measured,
                    None,
                    "; ".join(text for _, text, _ in mine),
                    help="; ".join(dict.fromkeys(remedy for _, _, remedy in mine)),
                    severity=severity,
                    evidence={"problems": [text for _, text, _ in mine]},
                )


# How bad, what, and what to do.
_Problem = tuple[Severity, str, str]


def _problem(each: InputStatistics, samples: int, *, raw: bool, only: bool) -> _Problem | None:
    """Return the worst problem of one input or target."""
    name = f"`{each.name}`"
    if each.nans or each.infinities:
        counts = (
            f"{n:,} {word}" for n, word in ((each.nans, "NaN"), (each.infinities, "inf")) if n
        )
        text = f"{name} has {' and '.join(counts)} of {each.elements:,} values"
        return Severity.ERROR, text, "find where the data become non-finite: a division, a log"
    if each.target:
        return _labels(each, samples, name)
    if not _is_float(each) or each.elements < 2:
        return None
    if each.minimum == each.maximum:
        text = f"{name} is {each.minimum:g} everywhere"
        return (Severity.WARNING, text, "look at what the loader gives") if only else None
    size = math.hypot(each.mean, each.standard_deviation)
    if size > LARGE and raw:
        text = (
            f"{name} is not normalised: from {each.minimum:.4g} to {each.maximum:.4g}, mean "
            f"{each.mean:.3g}, standard deviation {each.standard_deviation:.3g}"
        )
        return (
            Severity.WARNING,
            text,
            "subtract the mean and divide by the standard deviation, or divide images by 255",
        )
    if samples > 1 and each.repeated_samples >= max(REPEATED * samples, 2):
        every = each.repeated_samples >= samples
        share = f"all {samples}" if every else f"{each.repeated_samples} of {samples}"
        severity = Severity.WARNING if every else Severity.NOTE
        return severity, f"{share} samples of {name} are equal to another one", "is it meant?"
    return None


def _labels(each: InputStatistics, samples: int, name: str) -> _Problem | None:
    total = sum(each.labels.values())
    # Labels of pixels and tokens are unbalanced by nature.
    if total < LEAST_LABELS or each.elements > samples:
        return None
    label, most = max(each.labels.items(), key=lambda item: item[1])
    if most == total:
        text = f"all {total} labels in {name} are {label}"
        return Severity.WARNING, text, "shuffle the data, and look at what the loader gives"
    if most >= MAJORITY * total:
        text = f"{100 * most / total:.0f} % of the labels in {name} are {label}"
        return (
            Severity.NOTE,
            text,
            "weigh the classes or the samples, and measure more than accuracy",
        )
    return None


def _is_float(each: InputStatistics) -> bool:
    return "float" in each.dtype


def _is_taken_raw(measured: Measured) -> bool:
    """Return whether a layer takes an input of the model as it is."""
    known = by_index(measured)
    for node in measured.nodes:
        if node.in_loss or short(node) not in MAPS | RECURRENT:
            continue
        sources = [known[index] for index in node.inputs if index in known]
        while sources and all(short(each) in PASSING for each in sources):
            if not all(each.inputs for each in sources):
                return True
            sources = [known[i] for each in sources for i in each.inputs if i in known]
        if not node.inputs:
            return True
    return False
