"""What wrote each parameter is known: the function of torch.nn.init, and the user's line."""

from __future__ import annotations

import copy
import textwrap
from typing import Any

import torch
from torch import nn

from nnlint.linter.load.initialised import Recorder, last_write, writes
from nnlint.linter.trace.positions import UserCode


def built(body: str) -> Any:
    """Build `Net` of a source text under a recorder."""
    text = "import torch\nfrom torch import nn\n\n\n" + textwrap.dedent(body)
    recorder = Recorder(UserCode("net.py", text, ""))
    namespace: dict[str, Any] = {}
    with recorder:
        exec(compile(text, "net.py", "exec"), namespace)  # noqa: S102 - a text of ours
        model = namespace["Net"]()
    recorder.attach(model)
    return model


def test_a_layer_of_torch_writes_its_defaults() -> None:
    model = built("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.conv = nn.Linear(4, 4), nn.Conv2d(1, 2, 3)
    """)
    for layer, name in ((model.fc, "weight"), (model.fc, "bias"), (model.conv, "weight")):
        write = last_write(layer, name)
        assert write is not None
        assert write.kind == "default"
        assert write.location is None


def test_a_function_of_init_is_named_with_its_line() -> None:
    model = built("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 4)
                nn.init.kaiming_normal_(self.fc.weight)
                nn.init.zeros_(self.fc.bias)
    """)
    write = last_write(model.fc, "weight")
    assert write is not None
    assert (write.name, write.kind) == ("kaiming_normal_", "explicit")
    assert write.location is not None
    assert (write.location.path, write.location.line) == ("net.py", 10)
    bias = last_write(model.fc, "bias")
    assert bias is not None
    assert (bias.name, bias.kind) == ("zeros_", "constant")


def test_several_operations_of_one_function_are_one_write() -> None:
    model = built("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 4)
                nn.init.trunc_normal_(self.fc.weight, std=0.02)
    """)
    names = [write.name for write in writes(model.fc, "weight")]
    assert names.count("trunc_normal_") == 1
    assert names[-1] == "trunc_normal_"


def test_data_and_assignment_are_seen() -> None:
    model = built("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
                self.a.weight.data.fill_(100)
                with torch.no_grad():
                    self.b.bias[:2] = -25.0
    """)
    first, second = last_write(model.a, "weight"), last_write(model.b, "bias")
    assert first is not None
    assert second is not None
    assert (first.name, first.kind) == ("fill_", "constant")
    assert second.name == "assignment"


def test_a_parameter_of_its_own_names_its_factory() -> None:
    model = built("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.token = nn.Parameter(torch.randn(1, 4))
                self.scaled = nn.Parameter(torch.randn(1, 4) * 0.02)
    """)
    token = last_write(model, "token")
    assert token is not None
    assert (token.name, token.kind) == ("randn", "explicit")
    assert last_write(model, "scaled") is None


def test_every_write_is_kept_in_order() -> None:
    model = built("""
        def draw(layer):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)


        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 4)
                nn.init.zeros_(self.fc.weight)
                self.apply(draw)
    """)
    names = [write.name for write in writes(model.fc, "weight")]
    assert names[-2:] == ["zeros_", "xavier_uniform_"]


def test_copies_of_a_module_keep_what_is_known() -> None:
    model = built("""
        import copy


        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 4)
                nn.init.orthogonal_(self.fc.weight)
                self.other = copy.deepcopy(self.fc)
    """)
    for found in (model.other, copy.deepcopy(model).fc):
        write = last_write(found, "weight")
        assert write is not None
        assert write.name == "orthogonal_"


def test_a_module_that_was_not_recorded_is_unknown() -> None:
    assert last_write(nn.Linear(2, 2), "weight") is None
    assert last_write(None, "weight") is None


def test_recording_changes_no_number() -> None:
    torch.manual_seed(3)
    plain = nn.Linear(5, 5)
    torch.manual_seed(3)
    with Recorder(UserCode("net.py", "", "")):
        recorded = nn.Linear(5, 5)
    assert torch.equal(plain.weight, recorded.weight)


def test_what_was_at_the_same_place_in_memory_before_does_not_count() -> None:
    model = built("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                parts = []
                for size in [64] * 40:
                    torch.zeros(size, size).add(1)
                    parts.append(nn.Parameter(torch.FloatTensor(size, size)))
                self.parts = nn.ParameterList(parts)
                for part in self.parts:
                    part.data.uniform_(-1, 1)
    """)
    for name, _ in model.parts.named_parameters():
        assert [write.name for write in writes(model.parts, name)] == ["uniform_"]
