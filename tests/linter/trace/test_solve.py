"""Which arguments are found for a forward, led by what fails in runs of it."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

import nnlint
from nnlint.linter.trace.arguments import Drawn, Fixed, Keyed, Several, State
from nnlint.linter.trace.positions import UserCode
from nnlint.linter.trace.solve import Solved, Solver, rebatch

HEAD = """import random

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Net(nn.Module):
    def __init__(self):
        super().__init__()
"""


def solver_of(layers: str, forward: str) -> Solver:
    text = HEAD + "".join(f"        {line}\n" for line in layers.strip().splitlines()) + "\n"
    text += "".join(f"    {line}\n" for line in forward.strip().splitlines())
    module = types.ModuleType("model")
    exec(compile(text, "model.py", "exec"), module.__dict__)  # noqa: S102 - our own text
    torch.manual_seed(0)
    return Solver(module.Net().train(), UserCode("model.py", text, ""), lambda _: None)


def solved(layers: str, forward: str) -> Solved:
    solver = solver_of(layers, forward)
    found = solver.solve()
    assert found is not None, solver.last
    assert rebatch(solver, found) is not None, "another batch goes the same way"
    return found


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: v.shape for name, v in state.items() if isinstance(v, Drawn)}


def test_the_size_of_an_image_is_found_from_the_layer_after_flattening() -> None:
    found = solved(
        "self.conv = nn.Conv2d(3, 4, 5)\nself.fc = nn.Linear(4 * 46 * 46, 2)",
        "def forward(self, x):\n    return self.fc(self.conv(x).flatten(1))",
    )
    assert shapes(found.state) == {"x": (4, 3, 50, 50)}


def test_the_size_of_an_image_is_found_from_a_view() -> None:
    found = solved(
        "self.conv = nn.Conv2d(1, 4, 5)\nself.fc = nn.Linear(4 * 24 * 24, 2)",
        "def forward(self, x):\n    return self.fc(self.conv(x).view(-1, 4 * 24 * 24))",
    )
    assert shapes(found.state) == {"x": (4, 1, 28, 28)}


def test_a_view_that_cuts_samples_into_pieces_is_no_fit() -> None:
    found = solved(
        "self.conv = nn.Conv2d(1, 4, 1)\nself.fc = nn.Linear(4 * 8 * 8, 2)",
        "def forward(self, x):\n    return self.fc(self.conv(x).view(-1, 4 * 8 * 8))",
    )
    assert shapes(found.state) == {"x": (4, 1, 8, 8)}


def test_the_length_of_a_sequence_is_found() -> None:
    found = solved(
        "self.embed = nn.Embedding(50, 16)\nself.fc = nn.Linear(16 * 12, 4)",
        "def forward(self, x):\n    return self.fc(self.embed(x).view(x.size(0), -1))",
    )
    assert found.state == {"x": Drawn((4, 12), "int", 50)}


def test_integers_lie_within_the_vocabulary_though_something_is_added() -> None:
    found = solved(
        "self.embed = nn.Embedding(9, 4)",
        "def forward(self, x):\n    return self.embed(x + torch.tensor([0, 3, 6]))",
    )
    assert shapes(found.state)["x"][1] == 3


def test_a_recurrent_network_gets_its_state() -> None:
    found = solved(
        "self.embed = nn.Embedding(30, 8)\nself.rnn = nn.LSTM(8, 5, 2)",
        "def forward(self, x, hidden):\n    return self.rnn(self.embed(x), hidden)",
    )
    state = found.state["hidden"]
    assert isinstance(state, Several)
    assert [part.shape for part in state.items if isinstance(part, Drawn)] == [(2, 4, 5)] * 2
    assert shapes(found.state)["x"][1] == 4


def test_lengths_fit_the_sequences_that_are_packed() -> None:
    found = solved(
        "self.embed = nn.Embedding(30, 8)\nself.rnn = nn.GRU(8, 5)",
        """
def forward(self, source, lengths):
    packed = pack_padded_sequence(self.embed(source), lengths)
    out, _ = pad_packed_sequence(self.rnn(packed)[0])
    return out[-1]
""",
    )
    lengths = found.state["lengths"]
    assert isinstance(lengths, Drawn)
    assert lengths.fill == shapes(found.state)["source"][0]


def test_a_dict_is_filled_with_what_is_asked_of_it() -> None:
    found = solved(
        "self.a = nn.Linear(7, 8)\nself.b = nn.Conv2d(3, 8, 3)",
        """
def forward(self, batch):
    return self.a(batch["features"]) + self.b(batch["image"]).mean((2, 3))
""",
    )
    value = found.state["batch"]
    assert isinstance(value, Keyed)
    assert {key: item.shape for key, item in value.items if isinstance(item, Drawn)} == {
        "features": (4, 7),
        "image": (4, 3, 32, 32),
    }


def test_an_object_is_filled_with_what_is_asked_of_it() -> None:
    found = solved(
        "self.a = nn.Linear(7, 8)",
        "def forward(self, graph):\n    return self.a(graph.nodes_features)",
    )
    value = found.state["graph"]
    assert isinstance(value, Keyed)
    assert value.attributes


def test_a_tuple_is_unpacked() -> None:
    found = solved(
        "self.a = nn.Linear(7, 4)\nself.b = nn.Linear(5, 4)",
        "def forward(self, pair):\n    x, y = pair\n    return self.a(x) + self.b(y)",
    )
    value = found.state["pair"]
    assert isinstance(value, Several)
    assert [part.shape for part in value.items if isinstance(part, Drawn)] == [(4, 7), (4, 5)]


def test_a_graph_has_an_adjacency() -> None:
    found = solved(
        "self.fc = nn.Linear(9, 4)",
        "def forward(self, x, adj):\n    return torch.spmm(adj, self.fc(x))",
    )
    assert shapes(found.state) == {"x": (4, 9), "adj": (4, 4)}


def test_plain_numbers_and_flags_are_told_from_tensors() -> None:
    found = solved(
        "self.fc = nn.Linear(9, 4)",
        """
def forward(self, x, teacher_forcing_ratio, reverse, repeats: int):
    x = x.flip(1) if reverse else x
    for _ in range(repeats):
        x = x * 2 if random.random() < teacher_forcing_ratio else x
    return self.fc(x)
""",
    )
    assert all(isinstance(found.state[n], Fixed) for n in ("teacher_forcing_ratio", "repeats"))
    assert shapes(found.state)["x"] == (4, 9)


def test_what_is_concatenated_leaves_room_for_the_rest() -> None:
    found = solved(
        "self.embed = nn.Embedding(10, 6)\nself.fc = nn.Linear(20, 1)",
        "def forward(self, z, labels):\n    return self.fc(torch.cat((self.embed(labels), z), -1))",
    )
    assert shapes(found.state) == {"z": (4, 14), "labels": (4,)}


@pytest.mark.parametrize(
    "forward",
    [
        "def forward(self, x):\n    return self.missing(x)",
        "def forward(self, x):\n    raise NotImplementedError",
    ],
)
def test_what_no_input_can_help_is_given_up_at_once(forward: str) -> None:
    solver = solver_of("self.fc = nn.Linear(9, 4)", forward)
    assert solver.solve() is None
    assert solver.runs < 20


def test_a_forward_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnlint.linter.trace.solve.RUN_SECONDS", 0.05)
    solver = solver_of(
        "self.fc = nn.Linear(6, 6)",
        "def forward(self, x):\n    while True:\n        x = self.fc(x)",
    )
    assert solver.solve() is None
    assert solver.last is not None
    assert isinstance(solver.last.error, TimeoutError)


def test_an_input_that_may_be_left_out_is_passed_where_nothing_goes_without() -> None:
    found = solved(
        "self.fc = nn.Linear(9, 4)",
        """
def forward(self, ids=None, vectors=None):
    if ids is None and vectors is None:
        raise ValueError("give ids or vectors")
    return self.fc(vectors) if ids is None else self.nothing(ids)
""",
    )
    assert shapes(found.state) == {"vectors": (4, 9)}


def test_sizes_that_the_code_itself_asks_for_are_read_from_its_message() -> None:
    found = solved(
        "self.conv = nn.Conv2d(3, 4, 3)",
        """
def forward(self, x):
    batch, channels, height, width = x.shape
    if (height, width) != (48, 48):
        raise ValueError(f"got an image of {height}*{width}, not of 48*48")
    return self.conv(x)
""",
    )
    assert shapes(found.state) == {"x": (4, 3, 48, 48)}


def test_a_view_that_leaves_no_size_open_tells_how_many_values_there_are() -> None:
    found = solver_of(
        "self.fc = nn.Linear(64, 4)",
        "def forward(self, x):\n    return self.fc((x * 2).view(64))",
    ).solve()
    assert found is not None
    (shape,) = shapes(found.state).values()
    assert torch.Size(shape).numel() == 64


def test_a_list_of_records_is_filled_with_what_is_asked_of_them() -> None:
    solver = solver_of(
        "self.conv = nn.Conv2d(3, 4, 3)",
        """
def forward(self, images, targets=None):
    if targets is None:
        raise ValueError("targets are missing")
    boxes = torch.stack([target["boxes"] for target in [t for t in targets]])
    if any("labels" not in target for target in targets):
        raise ValueError("Every element should have a labels key")
    widths = boxes[..., 2] - boxes[..., 0]
    if bool((widths <= 0).any()):
        raise ValueError("a box has no width")
    return self.conv(torch.stack([image for image in images])).mean((1, 2, 3)) + widths.mean(1)
""",
    )
    found = solver.solve()
    assert found is not None
    records = found.state["targets"]
    assert isinstance(records, Several)
    assert records.samples
    for record in records.items:
        assert isinstance(record, Keyed)
        assert {key for key, _ in record.items} == {"boxes", "labels"}


def test_the_size_of_an_image_is_found_from_a_table_of_positions() -> None:
    found = solved(
        "self.patch = nn.Conv2d(3, 8, 4, 4)\nself.positions = nn.Parameter(torch.zeros(1, 144, 8))",
        """
def forward(self, x):
    return self.patch(x).flatten(2).transpose(1, 2) + self.positions
""",
    )
    assert shapes(found.state) == {"x": (4, 3, 48, 48)}


def test_an_image_that_the_code_calls_too_small_is_enlarged() -> None:
    found = solved(
        "self.conv = nn.Conv2d(3, 8, 4, 4)",
        """
def forward(self, x):
    x = self.conv(x)
    if x.shape[-1] < 16:
        raise ValueError("feature maps are too small for four levels")
    return x
""",
    )
    assert shapes(found.state) == {"x": (4, 3, 64, 64)}


@pytest.mark.parametrize(
    ("layers", "check"),
    [
        ("", 'assert x.shape[2] == 40 and x.shape[3] == 40, "must be 40x40"'),
        (
            "self.size = (40, 40)",
            """assert (
        x.shape[-2] == self.size[0]
        and x.shape[-1] == self.size[1]
    ), f"not {self.size}\"""",
        ),
    ],
)
def test_the_size_of_an_image_is_taken_from_an_assertion(layers: str, check: str) -> None:
    found = solved(
        f"self.conv = nn.Conv2d(3, 8, 3)\n{layers}",
        f"def forward(self, x):\n    {check}\n    return self.conv(x)",
    )
    assert shapes(found.state) == {"x": (4, 3, 40, 40)}


def test_the_size_of_an_image_is_found_from_a_table_that_it_is_multiplied_with() -> None:
    found = solved(
        "self.conv = nn.Conv2d(1, 8, 9, 2)\nself.table = nn.Parameter(torch.zeros(10, 100, 8, 16))",
        """
def forward(self, x):
    x = self.conv(x).flatten(2).transpose(1, 2)
    return (x[None, :, :, None, :] @ self.table[:, None]).sum((0, 2))
""",
    )
    assert shapes(found.state)["x"][2:] in {(27, 27), (28, 28)}


def test_a_mask_gets_the_sizes_of_what_it_is_a_mask_for() -> None:
    found = solved(
        "self.fc = nn.Linear(8, 4)",
        """
def forward(self, x):
    order = x.mean(2).sort(1)[1][:, :20]
    first = order[:, :1].repeat(1, 20)
    far = order > 30
    order[far] = first[far]
    return self.fc(x).mean(1)
""",
    )
    assert shapes(found.state)["x"][1] >= 20


def test_an_image_is_enlarged_for_windows_that_are_parts_of_it() -> None:
    found = solved(
        "self.conv = nn.Conv2d(3, 8, 4, 16)",
        """
def forward(self, x):
    x = self.conv(x)
    return F.avg_pool2d(x, 2, stride=x.shape[-1] // 6)
""",
    )
    assert shapes(found.state)["x"][2] >= 96


def test_the_same_call_is_told_from_others_of_its_kind() -> None:
    found = solved(
        "self.patch = nn.Conv2d(3, 8, 4, 4)\nself.positions = nn.Parameter(torch.zeros(1, 144, 8))",
        """
def forward(self, x):
    return [y + z for y, z in ((x, x), (self.patch(x).flatten(2).mT, self.positions))][1]
""",
    )
    assert shapes(found.state) == {"x": (4, 3, 48, 48)}


def test_what_an_assertion_of_torch_asks_for_is_read_as_well() -> None:
    found = solved(
        "self.conv = nn.Conv2d(3, 4, 3)",
        """
def forward(self, x):
    batch, channels, height, width = x.shape
    torch._assert(height == 48, f"the height {height} is not that of the model, 48")
    torch._assert(width == 48, f"the width {width} is not that of the model, 48")
    return self.conv(x)
""",
    )
    assert shapes(found.state) == {"x": (4, 3, 48, 48)}


def test_a_view_of_values_out_of_order_is_taken_as_one_of_a_copy() -> None:
    found = solved(
        "self.fc = nn.Linear(32, 4)",
        """
def forward(self, x):
    x = x.view(x.size(0), 4, 8).transpose(1, 2) * 2
    return self.fc(x.view(x.size(0), 32))
""",
    )
    assert torch.Size(shapes(found.state)["x"]).numel() == 4 * 32


def test_keywords_that_forward_asks_for_are_passed() -> None:
    found = solved(
        "self.fc = nn.Linear(8, 4)\nself.embed = nn.Linear(6, 4)",
        """
def forward(self, x, **kwargs):
    return self.fc(x) + self.embed(kwargs["context"])
""",
    )
    assert shapes(found.state) == {"x": (4, 8), "context": (4, 6)}


def test_a_signal_is_as_long_as_its_many_strides_need() -> None:
    layers = [f"nn.Conv1d({4 if i else 1}, 4, 5, 4)" for i in range(4)]
    found = solved(
        f"self.convs = nn.ModuleList([{', '.join(layers)}])",
        """
def forward(self, signal):
    x = signal.unsqueeze(1)
    for conv in self.convs:
        x = conv(x)
    return x
""",
    )
    assert shapes(found.state)["signal"][1] >= 5 * 4**3


def test_the_size_of_an_image_is_read_from_what_the_model_remembers() -> None:
    found = solved(
        "self.image_size = (40, 48)\nself.conv = nn.Conv2d(3, 4, 3)",
        """
def forward(self, images):
    return self.conv(images)[:, :, :38, :46].reshape(-1, 4, 38, 46)
""",
    )
    assert shapes(found.state) == {"images": (4, 3, 40, 48)}


class Video(nn.Module):
    """Takes videos of one size alone, as those with learned positions do."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv3d(3, 8, (2, 16, 16), (2, 16, 16))
        self.positions = nn.Parameter(torch.zeros(1, 8 * 14 * 14, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        if x.shape[0] > 64:
            x = x[:64]
        return self.head((x + self.positions).mean(1))


def test_a_model_that_takes_whole_videos_alone_gets_one():
    (model,) = nnlint.lint(Video()).models
    assert model.analysed, model.reason
