"""Capturing a live module: what it leaves alone, what it finds, and what it refuses."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnlint.errors import CaptureError, UsageError
from nnlint.linter.settings import InputSpec, ModelSettings
from nnlint.probe_service.capture import inputs
from nnlint.probe_service.capture.feed import Call
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.options import ProbeOptions
from nnlint.protos.v1 import graph_pb2
from tests.probe.capture import small

Draw = graph_pb2.Draw


def graph_of(*args: Any, **kwargs: Any) -> graph_pb2.Graph:
    return graph_pb2.Graph.FromString(capture_live(*args, **kwargs).graph)


def line(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(i for i, each in enumerate(lines, 1) if each.endswith(text))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_its_gradients_modes_and_the_random_state_are_left_alone(
    *, training: bool
) -> None:
    model = small.Residual().train(training)
    model.block[1].eval()
    model.head.weight.grad = torch.full_like(model.head.weight, 3.0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = [id(p) for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    randomness = torch.get_rng_state(), random.getstate()
    capture_live(model, torch.randn(4, 3, 8, 8), "cross_entropy")
    assert torch.equal(torch.get_rng_state(), _after(randomness[0]))
    assert random.getstate() == randomness[1]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [id(p) for p in model.parameters()] == parameters
    assert [module.training for module in model.modules()] == modes
    assert {name: set(vars(m)) for name, m in model.named_modules()} == attributes
    assert torch.equal(model.head.weight.grad, torch.full_like(model.head.weight, 3.0))
    assert model.stem.weight.grad is None


def _after(state: torch.Tensor) -> torch.Tensor:
    """Return the random state after the one call of torch.randn above."""
    generator = torch.Generator()
    generator.set_state(state)
    torch.randn(4, 3, 8, 8, generator=generator)
    return generator.get_state()


def test_a_capture_does_not_change_when_the_model_is_trained_on() -> None:
    model = nn.Linear(3, 2)
    captured = capture_live(model, torch.randn(4, 3))
    before = {key: bytes(data) for key, data in captured.blobs.items()}
    with torch.no_grad():
        model.weight.zero_()
    assert {key: bytes(data) for key, data in captured.blobs.items()} == before


def test_frozen_layers_in_evaluation_mode_stay_so() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Dropout(0.5)).train()
    model[1].eval()
    graph = graph_of(model, torch.randn(3, 4))
    dropout = [n for n in graph.nodes if "dropout" in graph.operators[n.operator]]
    assert [node.arguments[2].boolean for node in dropout] == [False, True]


def test_integers_are_drawn_over_the_smallest_table_that_they_reach() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Embedding(90, 4), nn.Embedding(7, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.large(ids) + self.small(ids.flatten().reshape(ids.shape))

    graph = graph_of(Two())
    assert graph.tensors[0].draw == Draw(integers=Draw.Integers(low=0, high=7))


def test_labels_that_forward_takes_are_drawn_over_its_classes() -> None:
    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(6, 9)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> Any:
            logits = self.out(x)
            return F.cross_entropy(logits, labels), logits

    captured = capture_live(Scored())
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert captured.loss_source == "forward"
    assert graph.tensors[1].draw == Draw(integers=Draw.Integers(low=0, high=9))
    assert len(graph.outputs) == 1
    assert [graph.operators[graph.nodes[i].operator] for i in captured.loss_nodes] == [
        "aten.cross_entropy_loss.default"
    ]


def test_boolean_inputs_are_drawn_true() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.linear(x).masked_fill(~mask, 0.0)

    batch = {"x": torch.randn(2, 4), "mask": torch.ones(2, 4, dtype=torch.bool)}
    assert graph_of(Masked(), batch).tensors[1].dtype == graph_pb2.SCALAR_TYPE_BOOL


def test_a_mapping_of_inputs_is_drawn_by_the_keys_that_forward_takes() -> None:
    class Keyed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(40, 8)
            self.linear = nn.Linear(5, 8)

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.embedding(batch["ids"]).mean(1) + self.linear(batch["x"])

    captured = capture_live(Keyed())
    names = [tensor.name for tensor in captured.tensors[:2]]
    assert names == ["batch['ids']", "batch['x']"]
    assert captured.batch_size == 16


def test_a_tuple_of_inputs_is_drawn_for_each_of_its_parts() -> None:
    captured = capture_live(small.Pair())
    graph = graph_pb2.Graph.FromString(captured.graph)
    assert [list(t.shape) for t in graph.tensors[:2]] == [[16, 5], [16, 6]]
    assert len(graph.outputs) == 3


def test_the_batch_size_is_that_of_the_options_else_of_the_batch_else_sixteen() -> None:
    model = nn.Linear(4, 4)
    assert capture_live(model).batch_size == 16
    assert capture_live(model, options=ProbeOptions(batch_size=5)).batch_size == 5
    assert capture_live(model, torch.randn(7, 4)).batch_size == 7
    taken = capture_live(model, torch.randn(7, 4), options=ProbeOptions(batch_size=3))
    assert taken.batch_size == 3
    with pytest.raises(UsageError, match="batches of 7 samples, fewer than 8"):
        capture_live(model, torch.randn(7, 4), options=ProbeOptions(batch_size=8))


def test_lazy_layers_are_given_their_sizes_on_a_copy() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    captured = capture_live(model, torch.randn(4, 9))
    assert captured.parity.gradients == 4
    assert isinstance(model[0], nn.LazyLinear)


def test_a_buffer_that_forward_replaces_is_changed_in_place_in_the_graph() -> None:
    graph = graph_of(small.Nested(), torch.randn(6, 8))
    written = [n for n in graph.nodes if graph.operators[n.operator] == "aten.copy_.default"]
    (node,) = written
    target = node.arguments[0].reference.tensor
    assert graph.tensors[target].role == graph_pb2.Tensor.ROLE_BUFFER
    assert not graph.regions[node.region].grad_enabled


def test_memory_that_nothing_has_written_is_replaced_by_zeros() -> None:
    graph = graph_of(small.Moves(), torch.randn(4, 16))
    assert not any(".empty" in name or "new_empty" in name for name in graph.operators)
    assert "aten.zeros.default" in graph.operators


def test_results_that_nothing_uses_are_dropped_but_random_ones_keep_the_stream() -> None:
    class Wasteful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.unused(x)
            F.dropout(x, 0.5)
            return F.dropout(self.linear(x), 0.5)

    captured = capture_live(Wasteful(), torch.randn(3, 4))
    graph = graph_pb2.Graph.FromString(captured.graph)
    names = [graph.operators[node.operator] for node in graph.nodes]
    assert names.count("aten.linear.default") == 1
    assert names.count("aten.dropout.default") == 2
    assert captured.parity.bit_equal
    # An unused parameter stays: that it gets no gradient is worth telling.
    assert "unused.weight" in {tensor.name for tensor in captured.tensors}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_on_a_gpu_is_kept_for_a_server_that_has_one(dtype: torch.dtype) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cuda", dtype=dtype):
                return self.linear(x)

    captured = capture_live(Mixed(), torch.randn(3, 4))
    graph = graph_pb2.Graph.FromString(captured.graph)
    (cast,) = graph.regions[graph.nodes[0].region].autocasts
    assert cast.device == graph_pb2.Region.Autocast.DEVICE_CUDA
    assert cast.enabled
    assert captured.parity.bit_equal


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        if y.sum() > 0:  # decides
            return y
        return -y


class Reading(Deciding):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * x.max().item()  # reads


class Selecting(Deciding):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return y.sum() + y[torch.nonzero(y > 0)].mean()  # selects


class Leaving(Deciding):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return y + torch.from_numpy(y.detach().numpy())  # leaves


class Raising(Deciding):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).view(3, 5, 7)  # raises


class Unlisted(Deciding):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_strided(self.linear(x), (2, 2), (1, 1))  # unlisted


@pytest.mark.parametrize(
    ("model", "mark", "reason"),
    [
        (Deciding, "# decides", "on a value that is only known when it runs"),
        (Reading, "# reads", "only known when forward runs"),
        (Selecting, "# selects", "only known when"),
        (Leaving, "# leaves", "NumPy"),
        (Raising, "# raises", r"forward raises RuntimeError: shape '\[3, 5, 7\]' is invalid"),
        (Unlisted, "# unlisted", "aten.as_strided.default, which is not on the list"),
    ],
)
def test_what_cannot_be_captured_is_refused_with_the_line_and_the_reason(
    model: type[nn.Module], mark: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CaptureError, match=reason) as caught:
        capture_live(model(), torch.randn(6, 4))
    assert caught.value.location is not None
    assert caught.value.location.line == line(mark)
    assert capfd.readouterr() == ("", "")


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(CaptureError, match="requires gradients"):
        capture_live(nn.Linear(3, 3).requires_grad_(requires_grad=False))


def test_a_model_without_values_is_refused() -> None:
    with pytest.raises(UsageError, match="meta device"):
        capture_live(nn.Linear(3, 3, device="meta"))


def test_what_torchscript_has_compiled_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(torch.jit.script(nn.Linear(3, 3)))
    with pytest.raises(CaptureError, match="0 is compiled by TorchScript"):
        capture_live(model, torch.randn(2, 3))


def test_what_torch_compile_has_wrapped_is_captured_as_it_was_written() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, part = torch.compile(model), torch.compile(model[0])
    for compiled in (whole, nn.Sequential(part, model[1])):
        assert capture_live(compiled, torch.randn(2, 3)).parity.bit_equal


def test_a_batch_size_that_forward_has_written_into_it_is_found_and_told() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x).view(1, 3)

    captured = capture_live(Fixed())
    assert captured.batch_size == 1
    assert any("does not accept a batch of 16" in note for note in captured.notes)


def test_the_shape_that_the_user_gives_says_how_many_samples_a_step_has() -> None:
    model = nn.Linear(3, 2)
    settings = ModelSettings(inputs=(InputSpec((4, 3)),))

    def first(settings: ModelSettings, batch_size: int | None) -> Call:
        passed: frozenset[str] = frozenset()
        return next(inputs.calls(model, None, settings, passed=passed, batch_size=batch_size))

    assert first(settings, None).batch_size == 4
    assert first(settings, 9).feeds[0].shape == (9, 3)
    assert first(ModelSettings(), None).batch_size == 16


def test_tensors_in_the_attributes_of_an_object_are_outputs() -> None:
    class Result:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits = logits

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> Result:
            return Result(self.linear(x))

    captured = capture_live(Wrapped(), torch.randn(4, 6), "cross_entropy")
    assert len(graph_pb2.Graph.FromString(captured.graph).outputs) == 1


@pytest.mark.parametrize("model", [3, nn.Linear, "Net"])
def test_what_is_no_module_is_refused(model: Any) -> None:
    with pytest.raises(UsageError, match=r"takes a torch\.nn\.Module"):
        capture_live(model)


def test_operations_stand_at_the_users_lines_and_layers_where_they_were_built() -> None:
    captured = capture_live(small.Residual(), torch.randn(2, 3, 8, 8), "cross_entropy")
    graph = graph_pb2.Graph.FromString(captured.graph)
    names = [graph.operators[node.operator] for node in graph.nodes]
    lines = Path(small.__file__).read_text(encoding="utf-8").splitlines()

    def text(place: Any) -> str:
        return lines[place.line - 1].strip()

    convolutions = [i for i, name in enumerate(names) if name == "aten.conv2d.default"]
    stem, inner = (captured.nodes[i] for i in convolutions[:2])
    assert stem.path == "stem"
    assert text(stem.location) == text(stem.call) == "x = F.relu(self.bn(self.stem(images)))"
    assert text(stem.built).startswith("self.stem = nn.Conv2d(")
    assert inner.path == "block.0"
    assert text(inner.call) == "x = F.relu(x + self.block(x))"
    assert text(inner.location) == "nn.Conv2d(8, 8, 3, padding=1, bias=False),"
    weight = next(tensor for tensor in captured.tensors if tensor.name == "block.3.weight")
    assert weight.site.path == "block.3"
    assert text(weight.site.built) == "nn.Conv2d(8, 8, 3, padding=1, bias=False),"
