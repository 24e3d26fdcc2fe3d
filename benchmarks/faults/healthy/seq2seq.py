"""A GRU reads a sentence, another writes one from the last state of the first."""

import torch
import torch.nn.functional as F
from torch import nn


class Seq2Seq(nn.Module):
    def __init__(self, words=300, width=64):
        super().__init__()
        self.source = nn.Embedding(words, width)
        self.target = nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.fc = nn.Linear(width, width)
        self.head = nn.Linear(width, words)

    def forward(self, source_tokens, target_tokens):
        _, state = self.encoder(self.source(source_tokens))
        states, _ = self.decoder(self.target(target_tokens), state)
        x = F.relu(self.fc(states))
        return self.head(x)


def train(batches, epochs=10):
    model = Seq2Seq()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for _ in range(epochs):
        for source, target, labels in batches:
            optimizer.zero_grad()
            logits = model(source, target)
            loss = criterion(logits.transpose(1, 2), labels)
            loss.backward()
            optimizer.step()
    return model
