"""A digit classifier with sigmoid after every layer, and softmax before the cross-entropy.

It trains, slowly: each sigmoid passes on at most a quarter of the gradient, and the loss, which
applies log-softmax itself, sees probabilities instead of logits.
"""

import torch
import torch.nn.functional as F
from torch import nn


class SigmoidNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.fc1 = nn.Linear(64 * 12 * 12, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images):
        x = torch.sigmoid(self.conv1(images))  # expect: saturating-stack
        x = torch.sigmoid(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.flatten(x, 1)
        x = torch.sigmoid(self.fc1(x))
        x = self.fc2(x)
        return F.softmax(x, dim=1)  # expect: softmax-before-cross-entropy


def train(batches, epochs=10):
    model = SigmoidNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
    return model
