"""Every weight is 100 and every bias -100: all units of a layer compute, and learn, the same."""

import torch
import torch.nn.functional as F
from torch import nn


class ConstantNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)  # expect: constant-init # expect: exploding-init
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)  # expect: constant-init
        self.fc1 = nn.Linear(64 * 12 * 12, 128)  # expect: constant-init
        self.fc2 = nn.Linear(128, 10)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2):
            layer.weight.data.fill_(100)
            layer.bias.data.fill_(-100)

    def forward(self, images):
        x = F.relu(self.conv1(images))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def loss(model, images, labels):
    return F.cross_entropy(model(images), labels)


def train(batches):
    model = ConstantNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for images, labels in batches:
        optimizer.zero_grad()
        loss(model, images, labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 4.0)
        optimizer.step()
    return model
