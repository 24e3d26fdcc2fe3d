"""Dropout before batch norm, after it, and in evaluation as well."""

import torch
import torch.nn.functional as F
from torch import nn


class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for inner, outer in ((1, 32), (32, 32), (32, 32), (32, 32)):
            layers += [
                nn.Conv2d(inner, outer, kernel_size=3, padding=1, bias=False),
                nn.Dropout(0.5),
                nn.BatchNorm2d(outer),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.classifier = nn.Linear(512, 10)

    def forward(self, images):
        return self.classifier(self.features(images))


class Right(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for inner, outer in ((1, 32), (32, 32), (32, 32), (32, 32)):
            layers += [
                nn.Conv2d(inner, outer, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(outer),
                nn.ReLU(),
                nn.Dropout(0.5),
            ]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.classifier = nn.Linear(512, 10)

    def forward(self, images):
        return self.classifier(self.features(images))


class Always(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128, bias=False)
        self.norm = nn.BatchNorm1d(128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.fc1(x)))
        return self.fc2(F.dropout(x, 0.5))


def train(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for images, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return model


def compare(batches):
    return [train(Wrong(), batches), train(Right(), batches), train(Always(), batches)]
