"""How models become graphs: what is traced, where it stands, and what is said when it fails."""

from __future__ import annotations

import types

import pytest
import torch

from nnlint.linter.discover.source import Source
from nnlint.linter.discover.targets import Target
from nnlint.linter.engine import model_graph
from nnlint.linter.findings import Location
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.load import built
from nnlint.linter.operators import activation, linear, moving
from nnlint.linter.settings import InputSpec, ModelSettings
from nnlint.linter.trace.capture import ForwardError, NotTraceableError
from nnlint.linter.trace.positions import UserCode

HEAD = """import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
"""


def graph_of(
    body: str,
    *,
    passed: frozenset[str] = frozenset(),
    inputs: tuple[InputSpec, ...] | None = None,
    loss: str = "",
) -> ModelGraph:
    text = HEAD + body
    module = types.ModuleType("model")
    code = UserCode("model.py", text, "")
    with built.recording(code):
        exec(compile(text, "model.py", "exec"), module.__dict__)  # noqa: S102 - our own text
        model = module.Net().train()
        return model_graph(
            model,
            target=Target("Net", "class", Location("model.py", 6), passed=passed),
            source=Source.parse("model.py", text),
            settings=ModelSettings(inputs=inputs),
            code=code,
            built_at=built.built_at,
            loss=loss,
        )


def text_at(location: Location | None, body: str) -> str:
    assert location is not None
    return (HEAD + body).splitlines()[location.line - 1][
        location.column - 1 : location.end_column - 1
    ]


def names(graph: ModelGraph) -> list[str]:
    return [node.op.name for node in graph.nodes if node.op]


def only(graph: ModelGraph, op: object) -> Node:
    (node,) = (n for n in graph.nodes if n.op is op)
    return node


BRANCH = """    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, tokens, labels=None):
        batch, length = tokens.shape
        if length > 4096:
            raise ValueError("too long")
        positions = torch.arange(length, device=tokens.device)
        x = self.embed(tokens) + self.embed(positions)
        x, _ = self.rnn(x)
        steps = [F.relu(x[:, t]) for t in range(min(x.size(1), 3))]
        logits = self.head(torch.stack(steps).mean(0))
        if labels is not None:
            return F.cross_entropy(logits, labels)
        return logits
"""


def test_forward_may_branch_and_loop_on_sizes() -> None:
    graph = graph_of(BRANCH)
    assert graph.capture == "run"
    assert names(graph).count("relu") == 3
    assert not graph.losses
    assert graph.outputs[0].info.shape is not None
    assert graph.outputs[0].info.shape[1:] == (3,)
    assert graph.outputs[0].info.batch == (0,)


def test_a_loss_in_forward_is_seen_when_its_labels_are_passed() -> None:
    graph = graph_of(BRANCH, passed=frozenset({"labels"}))
    assert [loss.op.name for loss in graph.losses if loss.op] == ["cross_entropy"]


def test_a_functional_call_is_located_to_the_character() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        größe = 1.0
        return größe * F.softmax(self.fc(x), dim=1)
"""
    graph = graph_of(body)
    assert text_at(only(graph, activation.SOFTMAX).location, body) == "F.softmax(self.fc(x), dim=1)"
    layer = only(graph, linear.LINEAR)
    assert text_at(layer.location, body) == "self.fc(x)"
    assert text_at(layer.built, body) == "nn.Linear(4, 3)"


def test_a_layer_in_a_container_is_located_where_it_is_built() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU())

    def forward(self, x):
        return self.body(x)
"""
    node = only(graph_of(body), activation.RELU)
    assert text_at(node.location, body) == "nn.ReLU()"
    assert text_at(node.call, body) == "self.body(x)"
    assert node.path == "body.1"


def test_no_position_is_the_frameworks_own() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 2)))

    def forward(self, x):
        return self.head(self.layer(x).mean(1))
"""
    graph = graph_of(body)
    for node in graph.nodes:
        for place in (node.location, node.call, node.built):
            assert place is None or place.path == "model.py"
        assert node.kind != "op" or node.location is not None


def test_the_batch_is_followed_through_reshapes() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x).permute(0, 2, 3, 1)
        return self.fc(x.reshape(-1, 4))
"""
    graph = graph_of(body)
    assert only(graph, moving.PERMUTE).info.batch == (0,)
    assert only(graph, moving.VIEW).info.mixed


def test_given_inputs_are_used() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(30, 2)

    def forward(self, a, b):
        return self.fc(torch.cat([a, b], dim=1))
"""
    graph = graph_of(body, inputs=(InputSpec((2, 10)), InputSpec((2, 20), name="b")))
    assert graph.failure is None
    assert only(graph, linear.LINEAR).info.shape == (2, 2)
    wrong = graph_of(body, inputs=(InputSpec((2, 10)), InputSpec((2, 21))))
    assert wrong.failure is not None
    assert wrong.failure.certain
    assert "31 features, the layer takes 30" in wrong.failure.message


def test_a_mismatch_for_every_input_size_is_certain() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.next = nn.Conv2d(16, 8, 3)

    def forward(self, x):
        return self.next(self.conv(x))
"""
    graph = graph_of(body)
    assert graph.failure is not None
    assert graph.failure.certain
    assert graph.failure.node.path == "next"


def test_a_size_that_fits_the_classifier_is_found() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 5)
        self.fc = nn.Linear(8 * 24 * 24, 10)

    def forward(self, x):
        return self.fc(torch.flatten(self.conv(x), 1))
"""
    graph = graph_of(body)
    assert graph.failure is None
    assert only(graph, linear.CONV2D).info.shape == (4, 8, 24, 24)


def test_what_forward_writes_into_a_new_tensor_is_kept() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(4, 4)

    def forward(self, x):
        out = torch.zeros(x.size(0), 2, 4)
        for t in range(2):
            out[:, t] = self.cell(x)
        return out
"""
    graph = graph_of(body)
    output = graph.outputs[0]
    reached, stack = set(), [output]
    while stack:
        node = stack.pop()
        reached.add(node)
        stack.extend(i for i in node.inputs if i not in reached)
    assert sum(node.op is linear.LINEAR for node in reached) == 2


def test_forward_may_decide_on_values() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        if x.sum() > 0:
            return self.fc(x)
        return x
"""
    graph = graph_of(body)
    assert graph.capture == "run"
    assert only(graph, linear.LINEAR).info.batch == (0,)


def test_inputs_that_no_run_goes_through_with_are_said_to_be_missing() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        if x.sum() > 0:
            raise ValueError(f"got {x.mean()}")
        return self.fc(x) if x.sum() == 0.25 else x.nothing
"""
    with pytest.raises(NotTraceableError, match="no input was found") as caught:
        graph_of(body)
    assert caught.value.obstacle == "inputs"
    assert caught.value.location is not None
    assert caught.value.location.line == 13


def test_a_class_without_a_forward_says_so() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def encode(self, x):
        return self.fc(x)
"""
    with pytest.raises(NotTraceableError, match="no forward of its own") as caught:
        graph_of(body)
    assert caught.value.obstacle == "forward"


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("return self.missing(x)", "no attribute 'missing'"),
        ("return undefined(x)", "name 'undefined' is not defined"),
    ],
)
def test_forward_that_always_raises_is_an_error_at_its_line(statement: str, text: str) -> None:
    body = f"""    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        {statement}
"""
    with pytest.raises(ForwardError, match=text) as caught:
        graph_of(body)
    assert caught.value.location is not None
    assert caught.value.location.line == 12


def test_a_check_of_the_input_type_is_no_error() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        if not isinstance(x, torch.Tensor):
            raise TypeError("need a tensor")
        return self.fc(x)
"""
    assert "linear" in names(graph_of(body))


@pytest.mark.parametrize(
    "check",
    [
        "assert isinstance(clips, Clips), 'give clips'",
        "assert type(clips) is Clips",
        "if not isinstance(clips, Clips):\n            raise ValueError('give clips')",
    ],
)
def test_an_input_of_a_kind_that_is_not_found_is_no_error(check: str) -> None:
    body = f"""    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, clips):
        {check}
        return self.fc(clips.frames)


class Clips:
    frames = None
"""
    with pytest.raises(NotTraceableError, match="no input was found"):
        graph_of(body)


def test_tracing_leaves_the_model_as_it_was() -> None:
    text = HEAD + BRANCH
    module = types.ModuleType("model")
    exec(compile(text, "model.py", "exec"), module.__dict__)  # noqa: S102 - our own text
    model = module.Net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = set(vars(model))
    model_graph(
        model,
        target=Target("Net", "class", Location("model.py", 6)),
        source=None,
        settings=ModelSettings(),
        code=UserCode("model.py", text, ""),
        built_at=lambda _: None,
    )
    assert set(vars(model)) == attributes
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_forward_stores_in_the_model_is_taken_back() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.last = None
        self.lazy = None

    def forward(self, x):
        self.last = self.fc(x)
        if self.lazy is None:
            self.lazy = nn.Linear(4, 2)
        return self.lazy(self.last)
"""
    graph = graph_of(body)
    assert graph.model.last is None
    assert graph.model.lazy is None
    assert [name for name, _ in graph.model.named_children()] == ["fc"]


def test_a_no_grad_block_in_forward_shows() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            x = self.a(x)
        return self.b(x)
"""
    recorded = {node.path: node.grad for node in graph_of(body).ops(linear.LINEAR)}
    assert recorded == {"a": False, "b": True}


def test_layers_that_are_not_registered_are_traced_all_the_same() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(4, 4)]

    def forward(self, x):
        return nn.Linear(4, 2)(self.layers[0](x))
"""
    graph = graph_of(body)
    assert names(graph) == ["linear", "linear"]
    assert len(graph.created) == 1
    place = graph.created[0][1]
    assert place is not None
    assert place.line == 12


def test_a_run_takes_over_where_fx_cannot() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        sizes = torch.tensor(x.shape)
        y = self.fc(x)
        for row in list(map(torch.Tensor.relu, y.unbind(0))):
            y = y + row
        return torch.relu(self.norm(y)) + float(len(sizes))
"""
    graph = graph_of(body, inputs=(InputSpec((2, 4)),))
    layer = only(graph, linear.LINEAR)
    assert layer.path == "fc"
    assert isinstance(layer.module, torch.nn.Linear)
    assert layer.parameter("weight") is not None
    assert layer.location is not None
    assert layer.location.line == 14


def test_a_run_meets_nothing_that_a_trace_left_in_the_model() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.Linear(4, 4)
        self.norm.scale = None

    def forward(self, x):
        if self.norm.scale is not None and self.norm.scale > 0:
            return x
        self.norm.scale = self.fc(x).mean()
        return self.norm(x) if self.norm.scale > 9 else self.fc(x)
"""
    graph = graph_of(body)
    assert graph.capture == "run"
    assert [n.path for n in graph.ops(linear.LINEAR)] == ["fc", "fc"]


def test_what_forward_compiles_is_followed_all_the_same() -> None:
    body = """    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        if x.sum() > 99:
            return x
        return torch.compile(lambda y: F.relu(self.fc(y)))(x)
"""
    graph = graph_of(body)
    assert [n for n in names(graph) if n in ("linear", "relu")] == ["linear", "relu"]


@pytest.mark.parametrize("branch", ["", "if x.sum() > 1e9: x = x[:1]"])
def test_python_s_operators_are_operators_of_the_graph_however_it_is_taken(branch: str) -> None:
    graph = graph_of(
        f"""    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        x = self.fc(x)
        {branch or "pass"}
        y = x ** 2
        y = 2 ** y
        y = 1 - y / 3
        y = 1 / (y - x * 2 + 1)
        y = -abs(y) @ x.t()
        y **= 2
        y += 1
        y -= 1
        y *= 2
        y /= 2
        return y
"""
    )
    assert graph.capture == ("run" if branch else "fx")
    names = [node.op.name if node.op else node.name for node in graph.nodes if node.kind == "op"]
    start = names.index("pow")
    found = " ".join(names[start:])
    assert found == "pow pow div sub mul sub add div abs neg t matmul pow add sub mul div"
