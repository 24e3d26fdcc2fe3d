"""Small images of ten classes, and a network that learns them."""

import torch
import torch.nn.functional as F
from torch import nn


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)
        for layer in (self.conv1, self.conv2, self.fc1):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)


def pixels():
    """Yield batches as a camera gives them: from 0 to 255."""
    draw = torch.Generator().manual_seed(0)
    patterns = torch.rand(10, 1, 16, 16, generator=draw)
    for _ in range(20):
        labels = torch.randint(10, (16,), generator=draw)
        noise = torch.rand(16, 1, 16, 16, generator=draw)
        yield 255 * (0.6 * patterns[labels] + 0.4 * noise), labels


def scaled():
    """Yield the same batches with mean 0 and standard deviation 1."""
    for images, labels in pixels():
        yield (images - 127.5) / 52.0, labels


def train(epochs=10):
    model = DigitNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for images, labels in scaled():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
    return model
