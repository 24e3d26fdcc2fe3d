"""A stand-in for torchvision, which fixtures may import and the project does not depend on."""

from __future__ import annotations

import sys
import types

import pytest
from torch import nn


class ResNet(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.avgpool(self.conv1(x)).flatten(1))


ResNet.__module__ = "torchvision.models.resnet"


def resnet18(*, weights=None, num_classes: int = 1000) -> ResNet:
    del weights
    return ResNet(num_classes)


@pytest.fixture(autouse=True)
def _torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    package, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    models.resnet18 = resnet18
    package.models = models
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
