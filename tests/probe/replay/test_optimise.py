from __future__ import annotations

import pytest
import torch

from nnlint.probe_service.asking import optimizers
from nnlint.probe_service.replay.optimise import Trainer
from nnlint.protos.v1 import probe_service_pb2
from tests.probe import graphs
from tests.probe.replay.running import load, step

Optimizer = probe_service_pb2.Optimizer
SETTINGS = {
    "sgd": (Optimizer(learning_rate=0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "decay": (
        Optimizer(learning_rate=0.1, weight_decay=0.01, sgd=Optimizer.Sgd(momentum=0.9)),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    "nesterov": (
        Optimizer(learning_rate=0.1, sgd=Optimizer.Sgd(momentum=0.9, nesterov=True)),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    ),
    "adamw": (
        Optimizer(
            learning_rate=0.01,
            weight_decay=0.1,
            adamw=Optimizer.AdamW(beta1=0.8, beta2=0.99, epsilon=1e-6),
        ),
        lambda p: torch.optim.AdamW(p, 0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_are_those_of_torch_optim(name: str) -> None:
    settings, make = SETTINGS[name]
    mine, theirs = load(graphs.convnet()), load(graphs.convnet())
    trainer, plain = Trainer(mine, settings), make(theirs.trained())
    for each in range(4):
        loss = trainer.bare(each)
        assert torch.equal(loss, step(theirs, each))
        plain.step()
    for a, b in zip(mine.trained(), theirs.trained(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("back", [0, 3, 16, 19])
def test_going_back_restores_parameters_buffers_and_the_optimiser(name: str, back: int) -> None:
    settings, _ = SETTINGS[name]
    program = load(graphs.convnet())
    trainer = Trainer(program, settings)
    states = []
    for each in range(20):
        states.append({i: t.detach().clone() for i, t in program.state().items()})
        if each == 16:
            trainer._save(each)
        trainer.bare(each)
    trainer.rewind(back)
    assert all(torch.equal(states[back][i], t) for i, t in program.state().items())
    trainer.bare(back)
    if back < 19:
        assert all(torch.equal(states[back + 1][i], t) for i, t in program.state().items())


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (Optimizer(learning_rate=-1), "o.learning_rate"),
        (Optimizer(weight_decay=float("nan")), "o.weight_decay"),
        (Optimizer(sgd=Optimizer.Sgd(nesterov=True)), "o.sgd.nesterov"),
        (Optimizer(adamw=Optimizer.AdamW(beta1=1.0)), "o.adamw.beta1"),
        (Optimizer(adamw=Optimizer.AdamW(beta2=-0.1)), "o.adamw.beta2"),
        (Optimizer(adamw=Optimizer.AdamW(epsilon=-1)), "o.adamw.epsilon"),
    ],
)
def test_settings_that_torch_would_refuse_are_named(settings: Optimizer, field: str) -> None:
    assert [each.field for each in optimizers.check("o", settings)] == [field]
