"""Biases of -100 in front of ReLUs: no unit fires, no gradient flows, and nothing raises."""

import torch.nn.functional as F
from torch import nn


class DeadNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 256)  # expect: dead-relu-bias
        self.fc2 = nn.Linear(256, 128)  # expect: dead-relu-bias
        self.fc3 = nn.Linear(128, 10)
        nn.init.constant_(self.fc1.bias, -100.0)
        nn.init.constant_(self.fc2.bias, -100.0)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def training_loss(x, labels):
    model = DeadNet()
    return F.cross_entropy(model(x), labels)
