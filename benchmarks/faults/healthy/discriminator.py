"""True images from made ones: strided convolutions, batch norm, leaky ReLU."""

import torch
import torch.nn.functional as F
from torch import nn


class Discriminator(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(4 * width)
        self.head = nn.Linear(4 * width * 4 * 4, 1)

    def forward(self, images):
        x = F.leaky_relu(self.conv1(images), 0.2)
        x = F.leaky_relu(self.norm2(self.conv2(x)), 0.2)
        x = F.leaky_relu(self.norm3(self.conv3(x)), 0.2)
        x = torch.flatten(x, 1)
        return self.head(x)


def train(batches, epochs=10):
    model = Discriminator()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0002, betas=(0.5, 0.999))
    for _ in range(epochs):
        for images, real in batches:
            optimizer.zero_grad()
            loss = criterion(model(images).squeeze(1), real)
            loss.backward()
            optimizer.step()
    return model
