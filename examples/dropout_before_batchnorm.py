"""Dropout in front of batch norm: the variance that batch norm learns is gone in evaluation."""

import torch
from torch import nn


class WrongOrder(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, kernel_size=3, bias=False),
            nn.Dropout(0.3),  # expect: dropout-before-batchnorm
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, bias=False),
            nn.Dropout(0.3),  # expect: dropout-before-batchnorm
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, images):
        return self.classifier(torch.flatten(self.features(images), 1))


def training_step(batch):
    model = WrongOrder()
    images, labels = batch
    return nn.functional.cross_entropy(model(images), labels)
