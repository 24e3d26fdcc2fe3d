"""Probe healthy models of torchvision, timm and transformers: none may give an error or a warning.

Usage: python benchmarks/probe_zoo.py [--experiment KIND,...] [NAME ...]

Each model is captured, replayed and judged in this process, with drawn inputs and labels and small
images, at its own initialisation. The exit code says whether all of them were silent.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnlint.errors import CaptureError
from nnlint.linter.findings import Finding, Location, Severity
from nnlint.linter.live import sites, source_of, target_of
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import all_rules
from nnlint.linter.settings import InputSpec, ModelSettings
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture.session import Subject, capture
from nnlint.probe_service.options import ProbeOptions
from tests import zoo
from tests.probe.probing import replay

CLASSES = 10
BATCH = 8
Made = tuple[nn.Module, tuple[InputSpec, ...], Any]


def image(size: int = 64, channels: int = 3) -> tuple[InputSpec, ...]:
    """Return the input of a model of images."""
    return (InputSpec((BATCH, channels, size, size), "float32"),)


def tokens(length: int = 16) -> tuple[InputSpec, ...]:
    """Return the input of a model of text."""
    return (InputSpec((BATCH, length), "int64", "input_ids"),)


def torchvision_model(name: str) -> Callable[[], Made]:
    """Return a maker of a torchvision classifier."""

    def make() -> Made:
        models = torchvision()
        extra = {"image_size": 64} if name.startswith("vit") else {}
        size = 96 if name.startswith("inception") else 64
        model = getattr(models, name)(weights=None, num_classes=CLASSES, **extra)
        return model, image(size), "cross_entropy"

    return make


def torchvision() -> Any:
    """Return torchvision's models."""
    return zoo.torchvision().models


def timm_model(name: str) -> Callable[[], Made]:
    """Return a maker of a timm classifier."""

    def make() -> Made:
        torchvision()
        import timm

        try:
            model = timm.create_model(name, num_classes=CLASSES, img_size=64)
        except TypeError:
            model = timm.create_model(name, num_classes=CLASSES)
        return model, image(), "cross_entropy"

    return make


class Logits(nn.Module):
    """A transformer of the transformers package, of which only the logits are returned."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits with the classes in dimension 1."""
        logits: torch.Tensor = self.model(input_ids=input_ids).logits
        return logits if logits.dim() == 2 else logits.transpose(1, 2)


def transformers_model(kind: str) -> Callable[[], Made]:
    """Return a maker of a small transformer."""

    def make() -> Made:
        torchvision()
        import transformers as t

        sizes = {
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "vocab_size": 500,
        }
        small = {"vocab_size": 500, "num_labels": CLASSES}
        gpt2 = t.GPT2Config(
            n_embd=64, n_layer=4, n_head=4, n_positions=64, vocab_size=500, use_cache=False,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model: nn.Module
        match kind:
            case "bert":
                model = t.BertForSequenceClassification(t.BertConfig(**sizes, num_labels=CLASSES))
            case "roberta":
                config = t.RobertaConfig(**sizes, num_labels=CLASSES, max_position_embeddings=64)
                model = t.RobertaForSequenceClassification(config)
            case "distilbert":
                distil = t.DistilBertConfig(dim=64, n_layers=4, n_heads=4, hidden_dim=128, **small)
                model = t.DistilBertForSequenceClassification(distil)
            case "gpt2":
                model = t.GPT2LMHeadModel(gpt2)
            case _:
                model = t.LlamaForCausalLM(t.LlamaConfig(**sizes, use_cache=False))
        return Logits(model), tokens(), "cross_entropy"

    return make


class Lstm(nn.Module):
    """A classifier of sequences."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 64)
        self.recurrent = kind(64, 64, 2, batch_first=True)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return logits from the last position."""
        states, _ = self.recurrent(self.embedding(input_ids))
        logits: torch.Tensor = self.head(states[:, -1])
        return logits


class UNet(nn.Module):
    """Two levels with skip connections."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()

        def pair(a: int, b: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for inner in (a, b):
                layers.append(nn.Conv2d(inner, b, 3, padding=1, bias=not norm))
                layers += [nn.BatchNorm2d(b)] if norm else []
                layers.append(nn.ReLU())
            return nn.Sequential(*layers)

        self.down1, self.down2, self.bottom = pair(3, 16), pair(16, 32), pair(32, 64)
        self.up2, self.merge2 = nn.ConvTranspose2d(64, 32, 2, 2), pair(64, 32)
        self.up1, self.merge1 = nn.ConvTranspose2d(32, 16, 2, 2), pair(32, 16)
        self.out = nn.Conv2d(16, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits for each pixel."""
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.merge2(torch.cat([self.up2(x), second], 1))
        x = self.merge1(torch.cat([self.up1(x), first], 1))
        logits: torch.Tensor = self.out(x)
        return logits


def he(model: nn.Sequential) -> nn.Sequential:
    """Initialise the layers before a ReLU after He."""
    for layer in list(model)[:-1]:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def plain(kind: str) -> Callable[[], Made]:
    """Return a maker of a model without a library."""

    def make() -> Made:
        ce = "cross_entropy"
        features = (InputSpec((BATCH, 64), "float32"),)
        match kind:
            case "mlp-he-20":
                layers = [each for _ in range(20) for each in (nn.Linear(64, 64), nn.ReLU())]
                return he(nn.Sequential(*layers, nn.Linear(64, CLASSES))), features, ce
            case "mlp-default-4":
                layers = [each for _ in range(4) for each in (nn.Linear(64, 64), nn.ReLU())]
                return nn.Sequential(*layers, nn.Linear(64, CLASSES)), features, ce
            case "lenet":
                convolutions = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5)]
                dense = [nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
                middle = [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
                net = nn.Sequential(*convolutions, *middle, *dense, nn.Linear(84, CLASSES))
                return net, image(28, 1), ce
            case "autoencoder":
                sizes = (784, 128, 64, 12, 64, 128, 784)
                pairs = [
                    each
                    for a, b in itertools.pairwise(sizes)
                    for each in (nn.Linear(a, b), nn.ReLU())
                ]
                return (
                    nn.Sequential(*pairs[:-1]),
                    (InputSpec((BATCH, 784), "float32"),),
                    "mse_loss",
                )
            case "lstm":
                return Lstm(), tokens(20), ce
            case "gru":
                return Lstm(nn.GRU), tokens(20), ce
            case "unet":
                return UNet(), image(32), ce
            case _:
                return UNet(norm=False), image(32), ce

    return make


TORCHVISION = (
    "resnet18 resnet50 wide_resnet50_2 resnext50_32x4d vgg11 vgg16_bn alexnet squeezenet1_1 "
    "densenet121 mobilenet_v2 mobilenet_v3_small efficientnet_b0 shufflenet_v2_x1_0 mnasnet0_5 "
    "convnext_tiny regnet_y_400mf vit_b_16 swin_t googlenet"
)
TIMM = (
    "vit_tiny_patch16_224 mixer_s32_224 convnextv2_atto resmlp_12_224 nf_regnet_b0 cait_xxs24_224 "
    "beit_base_patch16_224 ghostnet_100 seresnet18 repvgg_a0 poolformer_s12 edgenext_xx_small "
    "mobilevit_xxs coatnet_nano_rw_224 gmlp_s16_224 xcit_nano_12_p16_224 levit_128s"
)
TRANSFORMERS = "bert roberta distilbert gpt2 llama"
PLAIN = "mlp-he-20 mlp-default-4 lenet autoencoder lstm gru unet unet-without-norm"
ZOO: dict[str, Callable[[], Made]] = {
    **{name: torchvision_model(name) for name in TORCHVISION.split()},
    **{name: timm_model(name) for name in TIMM.split()},
    **{name: transformers_model(name) for name in TRANSFORMERS.split()},
    **{name: plain(name) for name in PLAIN.split()},
}


def probe(
    make: Callable[[], Made], experiments: tuple[str, ...]
) -> tuple[tuple[Finding, ...], tuple[str, ...], float]:
    """Return what the rules say of one model, what could not be asked, and the seconds."""
    torch.manual_seed(0)
    started = time.perf_counter()
    model, inputs, loss = make()
    model.train()
    path, text, source = source_of(type(model))
    target = target_of(model, path, source)
    code = UserCode(path, text, "")
    settings = ModelSettings(inputs=inputs)
    subject = Subject(model, target, code, sites(model), settings, None, loss)
    options = ProbeOptions(batch_size=BATCH, experiments=experiments)
    found = replay(capture(subject, options), options)
    findings, _ = run_probe_rules(found, all_rules())
    skipped = (f"{name}: {why}" for name, why in found.experiments.skipped.items())
    return findings, tuple(skipped), time.perf_counter() - started


def main() -> int:
    """Print a line for each model and what is said of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="models, all by default")
    parser.add_argument("--notes", action="store_true", help="show notes as well")
    parser.add_argument("--experiment", default="gradients", help="what is done, by commas")
    arguments = parser.parse_args()
    experiments = tuple(arguments.experiment.replace("-", "_").split(","))
    warnings.simplefilter("ignore")
    loud = refused = 0
    names = arguments.names or list(ZOO)
    for name in names:
        try:
            findings, skipped, seconds = probe(ZOO[name], experiments)
        except CaptureError as error:
            refused += 1
            print(f"{name:24s} not captured: {error}")
            continue
        shown = [f for f in findings if f.severity is not Severity.NOTE or arguments.notes]
        count = sum(f.severity is not Severity.NOTE for f in findings)
        loud += count
        print(
            f"{name:24s} {count} at warning and above, {len(findings) - count} notes, {seconds:.1f} s"
        )
        for reason in skipped:
            print(f"    skipped {reason}")
        for finding in shown:
            place: Location = finding.location
            print(
                f"    {finding.severity.value} {finding.code} line {place.line}: {finding.message}"
            )
    print(
        f"{len(names) - refused} models, {loud} findings at warning and above, {refused} not captured"
    )
    return int(bool(loud))


if __name__ == "__main__":
    raise SystemExit(main())
