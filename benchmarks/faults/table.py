"""The faults: how each is put into each healthy model, and which rules speak of it.

A fault holds for all models but those that it names a reason for. Where the edit depends on the
model it is looked up by name; `None` there stands for "does not apply", and `reasons` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.edits import (
    Edit,
    after_init,
    before_head,
    chain,
    output,
    replace,
    substitute,
)

HEALTHY = Path(__file__).parent / "healthy"
MODELS = tuple(sorted(path.stem for path in HEALTHY.glob("*.py")))

# What the labels of the models with a cross-entropy are made of, and how one-hot labels look.
_CLASSES = {
    **dict.fromkeys(("mlp", "cnn", "cnn_norm", "resnet", "densenet", "vit"), 10),
    "lstm": 4,
    "transformer": 6,
}
_CLASSIFIERS = (*_CLASSES, "unet", "seq2seq")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of mistake.

    Attributes:
        name: What it is.
        accepted: Rules of which one has to speak, at warning or above.
        edits: How it is put into each model, by name; "" for all others.
        reasons: Model -> why it cannot have this fault.
        notes: Rules whose note is enough, since the catalogue makes them notes.
        options: Model -> options of the probe that the fault is about; "" for all others.
        slow: Experiments that it takes to see it, beyond those that every pair is given.
    """

    name: str
    accepted: frozenset[str]
    edits: Mapping[str, Edit]
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: frozenset[str] = frozenset()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    slow: tuple[str, ...] = ()

    def applied(self, model: str, text: str) -> str | None:
        """Return the text of a model with this fault, None where it does not apply."""
        if model in self.reasons:
            return None
        edit = self.edits.get(model) or self.edits[""]
        return edit(text)

    def options_for(self, model: str) -> Mapping[str, Any]:
        """Return the options that a probe of a model with this fault is given."""
        return self.options.get(model) or self.options.get("", {})


def text_of(model: str) -> str:
    """Return the text of a healthy model."""
    return (HEALTHY / f"{model}.py").read_text(encoding="utf-8")


def _each(models: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(models.split(), reason)


def _biases(kinds: str, value: float) -> Edit:
    return after_init(
        "for layer in self.modules():",
        f"    if isinstance(layer, {kinds}) and layer.bias is not None:",
        f"        nn.init.constant_(layer.bias, {value})",
    )


def _normed(inner: str, outer: str, width: int) -> Edit:
    """Return an edit that gives a layer a dropout and, behind it, a batch norm."""
    return chain(
        after_init(f"self.norm = nn.BatchNorm1d({width})"),
        replace(inner, outer),
    )


def _one_hot(classes: int) -> Edit:
    return chain(
        replace("CrossEntropyLoss()", "BCEWithLogitsLoss()"),
        substitute(r"(criterion\(.*?), labels\)", rf"\1, F.one_hot(labels, {classes}).float())"),
    )


_LAYERS = "(nn.Linear, nn.Conv2d)"
_NO_CLASSES = _each("autoencoder discriminator", "no cross-entropy")
_NO_BATCH_NORM = _each("lstm seq2seq transformer vit", "no batch norm")
# Measured: all layers but the head have gradients of one order of magnitude.
_KEPT = "batch norm or skip connections keep the gradient"
_SIGMOID = replace("F.relu(", "torch.sigmoid(")
_FC = replace("F.relu(self.fc(", "(self.fc(")

FAULTS = (
    Fault(
        "constant weights",
        frozenset(("constant-init",)),
        {
            "": after_init(
                "for parameter in self.parameters():",
                "    if parameter.dim() > 1:",
                "        nn.init.constant_(parameter, 0.01)",
            )
        },
    ),
    Fault(
        "biases that kill units",
        frozenset(("dead-relu-bias", "dead-units")),
        {
            "": _biases("nn.BatchNorm2d", -10.0),
            **dict.fromkeys(("mlp", "cnn", "autoencoder", "vit"), _biases(_LAYERS, -100.0)),
            **dict.fromkeys(
                ("lstm", "seq2seq", "transformer"),
                after_init("nn.init.constant_(self.fc.bias, -100.0)"),
            ),
        },
        _each("discriminator", "leaky ReLUs do not die"),
    ),
    Fault(
        "sigmoid stack",
        frozenset(("saturating-stack", "vanishing-gradient", "saturated-units")),
        {
            "": _SIGMOID,
        },
        {
            **_each("lstm seq2seq transformer", "one hidden activation"),
            **_each("vit densenet unet resnet cnn_norm discriminator", _KEPT),
        },
    ),
    Fault(
        "softmax before the loss",
        frozenset(("softmax-before-cross-entropy", "sigmoid-before-bce-with-logits")),
        {
            "": output("F.softmax({}, dim=1)"),
            "seq2seq": output("F.softmax({}, dim=-1)"),
            **dict.fromkeys(("autoencoder", "discriminator"), output("torch.sigmoid({})")),
        },
    ),
    Fault(
        "log-softmax twice",
        frozenset(("log-softmax-before-cross-entropy",)),
        {"": output("F.log_softmax({}, dim=1)"), "seq2seq": output("F.log_softmax({}, dim=-1)")},
        _NO_CLASSES,
        notes=frozenset(("log-softmax-before-cross-entropy",)),
    ),
    Fault(
        "dropout before batch norm",
        frozenset(("dropout-before-batchnorm",)),
        {
            "mlp": _normed(
                "self.fc5(x))", "self.norm(F.dropout(self.fc5(x), 0.3, self.training)))", 128
            ),
            "cnn": _normed(
                "self.fc(x))", "self.norm(F.dropout(self.fc(x), 0.3, self.training)))", 128
            ),
            "autoencoder": _normed(
                "self.decode2(x))",
                "self.norm(F.dropout(self.decode2(x), 0.3, self.training)))",
                256,
            ),
            "cnn_norm": replace(
                "nn.BatchNorm2d(32),", "nn.Dropout(0.3),\n            nn.BatchNorm2d(32),"
            ),
            "resnet": replace(
                "self.norm2(self.conv2(out))",
                "self.norm2(F.dropout(self.conv2(out), 0.3, self.training))",
            ),
            "densenet": replace(
                "self.norm2(out)", "self.norm2(F.dropout(out, 0.3, self.training))"
            ),
            "unet": replace(
                "self.norm2(self.conv2(x))",
                "self.norm2(F.dropout(self.conv2(x), 0.3, self.training))",
            ),
            "discriminator": replace(
                "self.norm3(self.conv3(x))",
                "self.norm3(F.dropout(self.conv3(x), 0.3, self.training))",
            ),
        },
        _NO_BATCH_NORM,
    ),
    Fault(
        "unused layer",
        frozenset(("unused-layer",)),
        {"": after_init("self.project = nn.Linear(64, 64)")},
    ),
    Fault(
        "detached trunk",
        frozenset(("detached-path", "no-gradient")),
        {"": before_head("x = x.detach()")},
    ),
    Fault(
        "missing nonlinearity",
        frozenset(("missing-nonlinearity",)),
        {
            "": _FC,
            "mlp": replace("F.relu(self.fc3(x))", "self.fc3(x)"),
            # Without the norm as well: one between two layers is accepted by design.
            "cnn_norm": replace(
                "            nn.BatchNorm2d(32),\n            nn.ReLU(),\n            nn.MaxPool2d(2),\n",
                "",
            ),
            "resnet": replace("F.relu(self.norm1(self.conv1(x)))", "self.conv1(x)"),
            "densenet": replace("F.relu(self.norm2(out))", "out"),
            "unet": replace("F.relu(self.norm1(self.conv1(x)))", "self.conv1(x)"),
            "vit": replace("F.gelu(self.fc1(self.norm2(x)))", "self.fc1(self.norm2(x))"),
            "autoencoder": replace("F.relu(self.encode2(x))", "self.encode2(x)"),
            "discriminator": replace(
                "F.leaky_relu(self.norm2(self.conv2(x)), 0.2)", "self.conv2(x)"
            ),
        },
    ),
    Fault(
        "not finite at one element",
        frozenset(("non-finite", "log-unguarded", "sqrt-at-zero", "division-unguarded")),
        {
            "": before_head("x = torch.sqrt(x - x.amin())"),
            **dict.fromkeys(
                ("mlp", "lstm", "seq2seq", "unet", "autoencoder", "resnet"),
                before_head("x = x + torch.log(torch.arange(x.size(-1), device=x.device))"),
            ),
        },
    ),
    Fault(
        "weights x 100",
        frozenset(
            (
                *("exploding-init", "exploding-gradient", "non-finite"),
                *("saturated-units", "initial-loss"),
            )
        ),
        {
            "": after_init(
                "with torch.no_grad():",
                "    for parameter in self.parameters():",
                "        parameter.mul_(100)",
            )
        },
    ),
    Fault(
        "frozen layers",
        frozenset(("cannot-overfit", "no-gradient", "detached-path", "parameters-unchanged")),
        {
            # Meant to leave the last layer trainable; it leaves the last parameter, a bias.
            "": after_init(
                "for parameter in list(self.parameters())[:-1]:",
                "    parameter.requires_grad_(False)",
            )
        },
        slow=("overfit",),
    ),
    Fault(
        "samples mixed",
        frozenset(("batch-mixing", "batch-leak")),
        {"": before_head("x = x.transpose(0, 1).reshape(x.shape)")},
    ),
    Fault(
        "wrong loss",
        frozenset(
            ("binary-loss-on-multiclass", "bce-without-sigmoid", "single-output-cross-entropy")
        ),
        {
            **{model: _one_hot(classes) for model, classes in _CLASSES.items()},
            "unet": chain(
                _one_hot(5),
                replace("F.one_hot(labels, 5)", "F.one_hot(labels, 5).permute(0, 3, 1, 2)"),
            ),
            "seq2seq": chain(_one_hot(300), replace("logits.transpose(1, 2)", "logits")),
            "autoencoder": replace("BCEWithLogitsLoss()", "BCELoss()"),
            "discriminator": chain(
                replace("BCEWithLogitsLoss()", "CrossEntropyLoss()"),
                replace("model(images).squeeze(1), real", "model(images), real.long()"),
            ),
        },
    ),
    Fault(
        "missing zero_grad",
        frozenset(("missing-zero-grad",)),
        {"": replace("            optimizer.zero_grad()\n", "")},
    ),
    Fault(
        "dropout always on",
        frozenset(("functional-dropout-always-on",)),
        {"": before_head("x = F.dropout(x, 0.5)")},
    ),
    Fault(
        "summed loss",
        frozenset(("initial-loss",)),
        {
            "": replace("CrossEntropyLoss()", 'CrossEntropyLoss(reduction="sum")'),
            **dict.fromkeys(
                ("autoencoder", "discriminator"),
                replace("BCEWithLogitsLoss()", 'BCEWithLogitsLoss(reduction="sum")'),
            ),
        },
        # It trains as well, with another learning rate.
        notes=frozenset(("initial-loss",)),
    ),
    Fault(
        "learning rate too large",
        frozenset(("learning-rate", "update-ratio", "exploding-gradient", "non-finite")),
        {"": substitute(r"lr=[0-9.]+", "lr=10.0")},
        notes=frozenset(("update-ratio",)),
        options={
            **{
                model: {"optimizer": "adamw", "learning_rate": 10.0}
                for model in MODELS
                if "torch.optim.Adam" in text_of(model)
            },
            "": {"optimizer": "sgd", "learning_rate": 10.0},
        },
        slow=("lr_range",),
    ),
)
