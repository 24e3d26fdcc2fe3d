"""Layers that see the concatenated results of all before them."""

import torch
import torch.nn.functional as F
from torch import nn


class DenseLayer(nn.Module):
    def __init__(self, inner, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv1 = nn.Conv2d(inner, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        out = self.conv1(F.relu(self.norm1(x)))
        out = self.conv2(F.relu(self.norm2(out)))
        return torch.cat([x, out], dim=1)


class DenseNet(nn.Module):
    def __init__(self, growth=12, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(*[DenseLayer(24 + i * growth, growth) for i in range(3)])
        self.norm1 = nn.BatchNorm2d(60)
        self.narrow = nn.Conv2d(60, 30, 1, bias=False)
        self.block2 = nn.Sequential(*[DenseLayer(30 + i * growth, growth) for i in range(3)])
        self.norm2 = nn.BatchNorm2d(66)
        self.head = nn.Linear(66, classes)

    def forward(self, images):
        x = self.block1(self.stem(images))
        x = F.avg_pool2d(self.narrow(F.relu(self.norm1(x))), 2)
        x = F.relu(self.norm2(self.block2(x)))
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.head(x)


def train(batches, epochs=10):
    model = DenseNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
    return model
