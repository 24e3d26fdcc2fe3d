"""Convolution, batch norm, activation, dropout, next convolution: nothing to report.

The dropout of the first block meets the second block's batch norm behind a convolution, which mixes
what is dropped with what is not.
"""

import torch
from torch import nn


class RightOrder(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, kernel_size=3, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
            nn.Conv2d(32, 64, kernel_size=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Dropout(0.3),
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, images):
        return self.classifier(torch.flatten(self.features(images), 1))


def training_step(batch):
    model = RightOrder()
    images, labels = batch
    return nn.functional.cross_entropy(model(images), labels)
