"""A layer that forward forgets, and one that throws most of the width away."""

import torch
import torch.nn.functional as F
from torch import nn


class Forgetful(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 2048)
        self.fc2 = nn.Linear(2048, 16)
        self.fc3 = nn.Linear(16, 16)
        self.fc4 = nn.Linear(16, 10)

    def forward(self, images):
        x = F.relu(self.fc1(torch.flatten(images, 1)))
        x = F.relu(self.fc2(x))
        return self.fc4(x)


def loss(model, images, labels):
    return F.cross_entropy(model(images), labels)
