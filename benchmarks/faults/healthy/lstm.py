"""Words to one of four classes, from the last state of an LSTM."""

import torch
import torch.nn.functional as F
from torch import nn


class LSTMClassifier(nn.Module):
    def __init__(self, words=500, width=64, classes=4):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.fc = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens):
        states, _ = self.lstm(self.embedding(tokens))
        x = F.relu(self.fc(states[:, -1]))
        return self.head(x)


def train(batches, epochs=10):
    model = LSTMClassifier()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for _ in range(epochs):
        for tokens, labels in batches:
            optimizer.zero_grad()
            loss = criterion(model(tokens), labels)
            loss.backward()
            optimizer.step()
    return model
