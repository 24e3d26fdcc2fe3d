"""Labels read by hand, and which rules each kind of label speaks of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_INTO_CROSS_ENTROPY = (
    "softmax-before-cross-entropy",
    "sigmoid-before-cross-entropy",
    "log-softmax-before-cross-entropy",
)
_LOSS = (
    *_INTO_CROSS_ENTROPY,
    "nll-without-log-softmax",
    "sigmoid-before-bce-with-logits",
    "bce-without-sigmoid",
    "relu-on-logits",
)
_NUMERICS = (
    "log-of-softmax",
    "log-of-sigmoid",
    "sqrt-at-zero",
    "division-unguarded",
    "exp-unbounded",
    "log-unguarded",
)
_ORDER = ("dropout-before-batchnorm", "batchnorm-after-activation")
_INIT = ("missing-init", "constant-init", "ill-matched-init", "exploding-init")

# A defect is found when one of the rules of its kind speaks of its class.
DEFECTS: dict[str, tuple[str, ...]] = {
    "softmax-before-ce": ("softmax-before-cross-entropy",),
    "softmax-before-nll": ("nll-without-log-softmax",),
    "logsoftmax-before-ce": ("log-softmax-before-cross-entropy",),
    "sigmoid-before-ce": ("sigmoid-before-cross-entropy",),
    "bce-on-multiclass": ("binary-loss-on-multiclass",),
    "relu-on-output": ("relu-on-logits",),
    "missing-nonlinearity": ("missing-nonlinearity",),
    "dropout-before-bn": ("dropout-before-batchnorm",),
    "bn-after-activation": ("batchnorm-after-activation",),
    "bias-before-bn": ("bias-before-batchnorm",),
    "functional-dropout-always-on": ("functional-dropout-always-on",),
    "unused-layer": ("unused-layer", "discarded-result"),
    "saturating-hidden": ("saturating-stack",),
    "missing-init": ("missing-init", "uninitialised-parameter"),
    "ill-matched-init": ("ill-matched-init", "missing-init", "init-never-applied"),
    "unstable-numerics": _NUMERICS,
}

# A clean label is broken when one of the rules of its kind speaks of its class.
CLEAN: dict[str, tuple[str, ...]] = {
    "sigmoid-with-bce": (
        "sigmoid-before-bce-with-logits",
        "sigmoid-before-cross-entropy",
        "bce-without-sigmoid",
        "binary-loss-on-multiclass",
    ),
    "loss-chosen-at-runtime": (*_LOSS, "binary-loss-on-multiclass"),
    "activation-only-at-inference": _LOSS,
    "logsoftmax-with-nll": ("nll-without-log-softmax", "log-softmax-before-cross-entropy"),
    "softmax-not-to-loss": _LOSS,
    "loss-defined-but-unused": (*_LOSS, "binary-loss-on-multiclass"),
    "rl-policy": (*_LOSS, "double-activation"),
    "attention-softmax": (*_LOSS, "softmax-over-batch", "double-activation"),
    "raw-logits-with-ce": (*_LOSS, "single-output-cross-entropy"),
    "order-by-design": _ORDER,
    "no-activation-by-design": ("missing-nonlinearity",),
    "functional-dropout-guarded": ("functional-dropout-always-on",),
    "init-by-design": _INIT,
    "gate-or-output-saturation": ("saturating-stack", "double-activation"),
    "numerics-guarded": _NUMERICS,
}

# The same class before the defect was mended: what its twin is labelled with must be silent.
TWIN = "fixed-twin"

# Facts rather than bugs: told apart from the recall.
NOTES = frozenset({"bias-before-bn"})


@dataclass(frozen=True, slots=True)
class Label:
    """One judgement about one class.

    Attributes:
        tree: Name of the folder of its commit.
        path: File in the tree.
        name: Class, or function for the scope "function", or "".
        rules: Rules that find the defect, or that have to be silent where it is clean.
    """

    tree: str
    path: str
    name: str
    line: int
    defect: bool
    kind: str
    scope: Literal["class", "function", "script"]
    confidence: Literal["high", "medium", "low"]
    rules: tuple[str, ...]
    evidence: str

    @property
    def counts(self) -> bool:
        """Whether it belongs to the recall and the false alarms."""
        return self.scope == "class" and self.confidence != "low"

    @property
    def where(self) -> str:
        """Its place, for people."""
        return f"{self.tree}/{self.path}:{self.line} {self.name}".rstrip()


def read_labels(path: Path) -> list[Label]:
    """Return the labels of a file of JSON lines.

    Raises:
        ValueError: A label is of a kind that no table names.
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return [_label(row, rows) for row in rows]


def _label(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Label:
    return Label(
        tree=f"{row['repo'].replace('/', '__')}@{row['commit'][:7]}",
        path=row["path"],
        name=row["class"],
        line=row["line"],
        defect=row["label"] == "defect",
        kind=row["kind"],
        scope=row["scope"],
        confidence=row["confidence"],
        rules=_rules(row, rows),
        evidence=row["evidence"],
    )


def _rules(row: dict[str, Any], rows: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    kind = row["kind"]
    if row["label"] == "defect":
        if kind in DEFECTS:
            return DEFECTS[kind]
    elif kind in CLEAN:
        return CLEAN[kind]
    elif kind == TWIN:
        same = ("repo", "path", "class")
        twins = [r for r in rows if r["label"] == "defect" and all(r[k] == row[k] for k in same)]
        return tuple(dict.fromkeys(rule for twin in twins for rule in DEFECTS[twin["kind"]]))
    raise ValueError(f"labels of the kind {kind!r} ({row['label']}) have no rules in {__file__}")
