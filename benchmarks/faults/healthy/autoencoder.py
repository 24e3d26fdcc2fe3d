"""Images of 784 pixels from 0 to 1 through 32 numbers and back."""

import torch
import torch.nn.functional as F
from torch import nn


class Autoencoder(nn.Module):
    def __init__(self, pixels=784, code=32):
        super().__init__()
        self.encode1 = nn.Linear(pixels, 256)
        self.encode2 = nn.Linear(256, 128)
        self.code = nn.Linear(128, code)
        self.decode1 = nn.Linear(code, 128)
        self.decode2 = nn.Linear(128, 256)
        self.head = nn.Linear(256, pixels)
        for layer in (self.encode1, self.encode2, self.code, self.decode1, self.decode2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, images):
        x = torch.flatten(images, 1)
        x = F.relu(self.encode1(x))
        x = F.relu(self.encode2(x))
        x = F.relu(self.code(x))
        x = F.relu(self.decode1(x))
        x = F.relu(self.decode2(x))
        return self.head(x)


def train(batches, epochs=10):
    model = Autoencoder()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for _ in range(epochs):
        for images, _ in batches:
            optimizer.zero_grad()
            loss = criterion(model(images), torch.flatten(images, 1))
            loss.backward()
            optimizer.step()
    return model
