"""Values that are assumed for arguments, seen from outside: the model is built, and they are said."""

from __future__ import annotations

import textwrap

import pytest

HEAD = """
import torch
from torch import nn
from torch.nn import functional as F

"""


@pytest.fixture
def assumed(lint):
    """Lint a file with one model to look at, and return what was assumed for it."""

    def run(text: str, name: str = "Net", **files: str) -> dict[str, str]:
        every = {"net.py": HEAD + textwrap.dedent(text)}
        every.update({f"{key}.py": value for key, value in files.items()})
        report = lint(every, f"net.py:{name}")
        (model,) = report.models
        assert model.analysed, model.reason
        assert report.findings == ()
        return dict(model.assumed)

    return run


def net(parameters: str, *body: str, forward: str = "return self.fc(x)") -> str:
    lines = "\n        ".join(("super().__init__()", *body))
    return (
        f"class Net(nn.Module):\n    def __init__(self, {parameters}):\n        {lines}\n\n"
        f"    def forward(self, x):\n        {forward}\n"
    )


FC = "self.fc = nn.Linear(8, 8)"


@pytest.mark.parametrize(
    ("parameters", "line", "value"),
    [
        ("sizes", "self.fc = nn.Sequential(*[nn.Linear(s, s) for s in sizes])", "[64, 64, 64]"),
        ("a", "for s, k in a: self.fc = nn.Conv2d(s, s, k)", "[[64, 3]"),
        ("shape", "c, h, w = shape; self.fc = nn.Conv2d(c, 4, 3)", "(3, 32, 32)"),
        ("layers", "self.fc = nn.Linear(layers[0], layers[3])", "[2, 2, 2, 2]"),
        ("mode", "assert mode in ('max', 'mean')", "'max'"),
        ("kind", "self.act = {'a1': 1, 'b1': 2}[kind]", "'a1'"),
        ("v", "self.drop = nn.Dropout(v)", "0.1"),
        ("zz", "self.emb = nn.Embedding(zz, 8)", "100"),
        ("fancy", "self.more = 1 if fancy else 2", "False"),
        ("act_layer", "self.act = act_layer()", "nn.ReLU"),
        ("norm_layer", "self.norm = norm_layer(8)", "nn.BatchNorm2d"),
        ("x: int", "self.x = x", "64"),
        ("x: 'list[int]'", "self.x = x", "[64, 64, 64]"),
        ("x: bool", "self.x = x", "False"),
        ("emb_pretrained", "assert emb_pretrained is None or emb_pretrained.dim() == 2", "None"),
        ("embed", "self.emb = nn.Embedding(9, embed)", "64"),
        ("loss_fn", "self.how = loss_fn.reduction", "nn.MSELoss()"),
        ("device", "self.x = torch.zeros(3, device=device)", "cpu"),
        ("weights", "self.emb = nn.Embedding.from_pretrained(weights)", "torch.rand(64, 64)"),
        ("word2idx", "self.n = len(word2idx)", "a dict of 100 words"),
    ],
)
def test_use_name_and_annotation_tell_what_to_take(assumed, parameters, line, value):
    found = assumed(net(parameters, line) if "self.fc" in line else net(parameters, FC, line))
    assert next(iter(found.values())).startswith(value)


def test_use_is_followed_through_attributes_and_functions(assumed):
    found = assumed("""
        def make_layers(plan):
            return nn.Sequential(*[nn.Conv2d(i, o, 3) for i, o in plan])

        class Net(nn.Module):
            def __init__(self, thing, other):
                super().__init__()
                self.other = other
                self.body = make_layers(thing)

            def forward(self, x):
                for _ in range(self.other):
                    x = self.body(x)
                return x
    """)
    assert found["Net(thing)"].startswith("[[64, 64]")
    assert int(found["Net(other)"]) <= 4


def test_the_values_that_the_file_gives_to_the_name_come_first(assumed):
    text = net("hidden", "self.fc = nn.Linear(hidden, 2)") + "\ndef other(hidden=24): pass\n"
    assert assumed(text) == {"Net(hidden)": "24"}


def test_a_block_is_a_class_of_the_file_that_is_called_like_it(assumed):
    found = assumed("""
        class Plain(nn.Module):
            def __init__(self, width):
                super().__init__()

        class Wide(nn.Module):
            expansion = 2

            def __init__(self, planes, stride=1):
                super().__init__()
                self.fc = nn.Linear(planes, planes * 2)

            def forward(self, x):
                return self.fc(x)

        class Net(nn.Module):
            def __init__(self, block):
                super().__init__()
                self.body = block(8, stride=2)
                self.head = nn.Linear(8 * block.expansion, 2)

            def forward(self, x):
                return self.head(self.body(x))
    """)
    assert found == {"Net(block)": "Wide"}


def test_a_part_is_built_from_the_class_of_its_name(assumed):
    found = assumed("""
        class Encoder(nn.Module):
            def __init__(self, hidden_dim):
                super().__init__()
                self.fc = nn.Linear(hidden_dim, hidden_dim)

            def forward(self, x):
                return self.fc(x)

        class Net(nn.Module):
            def __init__(self, encoder):
                super().__init__()
                self.encoder = encoder

            def forward(self, x):
                return self.encoder(x)
    """)
    assert found == {"Net(encoder)": "Encoder(...)", "Encoder(hidden_dim)": "64"}


def test_options_answer_by_name_and_only_what_is_asked_is_said(assumed):
    found = assumed("""
        class Net(nn.Module):
            def __init__(self, opt):
                super().__init__()
                extra = getattr(opt, "extra", 3)
                assert extra == 3 and not hasattr(opt, "more")
                opt.freeze()
                self.fc = nn.Linear(opt.width, opt["n_classes"] + extra)
                self.drop = nn.Dropout(p=opt.dropout)
                vars(opt)["late"] = 5
                assert opt.late == 5

            def forward(self, x):
                return self.fc(self.drop(x))
    """)
    assert found == {"opt.width": "64", "opt.n_classes": "10", "opt.dropout": "0.1"}


def test_a_configuration_class_by_its_annotation(assumed):
    found = assumed("""
        import dataclasses

        @dataclasses.dataclass
        class Config:
            width: int
            depth: int = 3

        class Net(nn.Module):
            def __init__(self, config: Config):
                super().__init__()
                self.fc = nn.Sequential(*[nn.Linear(config.width, config.width)] * config.depth)

            def forward(self, x):
                return self.fc(x)
    """)
    assert found == {"Net(config)": "Config(...)", "Config(width)": "64"}


def test_an_error_of_the_constructor_leads_to_another_value(assumed):
    check = "if heads != 2: raise ValueError(f'{heads} heads are too many')"
    assert assumed(net("heads", FC, check)) == {"Net(heads)": "2"}


def test_the_keys_of_a_table_are_the_names_to_choose_from(assumed):
    text = "WIDTHS = {'tiny': 4, 'large': 8}\n"
    text += net("variant", "self.fc = nn.Linear(WIDTHS[variant], 2)")
    assert assumed(text) == {"Net(variant)": "'tiny'"}


def test_what_a_dict_of_keywords_hands_on(assumed):
    text = net("width, *, depth", FC, "self.n = [0] * depth")
    found = assumed(f"{text}\ndef make(**kwargs):\n    return Net(**kwargs)\n", "make")
    assert found == {"Net(depth)": "2", "Net(width)": "64"}


KID = """
class Kid(Net):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            KID.replace(", **kwargs", ""),
            "Kid was not analysed: its constructor needs more than its def",
        ),
        (
            f"{KID}        self.more = torch.zeros(nowhere.depth)\n",
            "with Net(width)=64, Net(depth)=2 it",
        ),
    ],
)
def test_what_is_not_handed_on_is_no_fault_of_the_class(lint, text, reason):
    text = f"{HEAD}import nowhere\n{net('width, *, depth', FC)}{text}"
    report = lint(text, "net.py:Kid")
    (finding,) = report.findings
    assert finding.code == "NNL004"
    assert reason in finding.message


def test_options_that_are_called_like_a_model(assumed):
    line = "width = config.model.small.width; self.fc = nn.Linear(width, 2)"
    assert assumed(net("config", line)) == {"small.width": "64"}


def test_a_default_of_none_that_nothing_is_found_for_is_no_fault_of_the_class(lint):
    text = f"{HEAD}{net('parts=None', FC, 'self.n = 8 * parts.first[parts.second].third.fourth()')}"
    (finding,) = lint(text, "net.py:Net").findings
    assert finding.code == "NNL004"


def test_a_default_of_none_that_does_not_do(assumed):
    found = assumed(net("opt=None", "self.fc = nn.Linear(opt.width, 2)"))
    assert found == {"opt.width": "64"}


def test_a_global_that_comes_from_what_is_not_installed(assumed):
    text = "import nowhere\nenv = nowhere.make('X')\nn_actions = env.actions.n\n"
    text += net("width=8", "self.fc = nn.Linear(width, n_actions)")
    assert assumed(text) == {"n_actions": "64"}
    text += "model = Net()\n"
    assert assumed(text, "model") == {"n_actions": "64"}


def test_an_option_that_the_program_sets_later(assumed):
    text = "import argparse\nparser = argparse.ArgumentParser()\n"
    text += "parser.add_argument('--width', default=8)\nargs = parser.parse_args()\n"
    text += "def load():\n    args.n_classes = len(open('labels').read())\n"
    text += net("width=8", "self.fc = nn.Linear(args.width, args.n_classes)")
    assert assumed(text) == {"options.n_classes": "10"}


def test_a_default_that_comes_from_what_is_not_installed(assumed):
    text = "import nowhere\nwidth = nowhere.width\n"
    text += net("width=width", "self.fc = nn.Linear(width, 2)")
    assert assumed(text) == {"Net(width)": "64"}


def test_given_arguments_are_kept_and_the_rest_assumed(lint):
    from nnlint.linter.settings import ModelSettings

    text = HEAD + net("width, depth", "self.fc = nn.Linear(width, 2)", "assert width == 12")
    report = lint(text, default_model=ModelSettings(kwargs={"width": 12}))
    assert dict(report.models[0].assumed) == {"Net(depth)": "2"}


def test_defaults_come_before_everything_else(lint):
    text = HEAD + net("width=3", "self.fc = nn.Linear(width, width)")
    assert lint(f"{text}\nprint(Net(5))\n").models[0].assumed == {}


def test_a_search_that_finds_nothing_ends(lint):
    text = HEAD + net("a, b, c, d", "raise ValueError(a)")
    report = lint(text)
    assert report.models[0].obstacle == "arguments"
    assert [finding.code for finding in report.findings] == ["NNL004"]


@pytest.mark.parametrize(
    ("body", "obstacle"),
    [
        ("open('/nowhere/weights.bin')", "build"),
        ("import argparse; argparse.Namespace().missing; self.x = 1", "build"),
        ("torch.distributed.get_rank(torch.distributed.group.WORLD)", "build"),
        ("raise ValueError('bad')", "build"),
    ],
)
def test_what_stops_a_constructor_without_parameters(lint, body, obstacle):
    report = lint(HEAD + net("", body))
    assert report.models[0].obstacle == obstacle
    assert [finding.code for finding in report.findings] == [
        "NNL001" if "raise" in body else "NNL004"
    ]


def test_a_method_named_train_that_is_a_training_loop(assumed):
    loop = "\n    def train(self, x, y):\n        self.fc(x) - y\n"
    assert assumed(net("width=3", "self.fc = nn.Linear(width, 3)") + loop) == {}


def test_an_abstract_class_is_no_model(lint):
    report = lint(f"""{HEAD}
import abc

class Net(nn.Module, abc.ABC):
    @abc.abstractmethod
    def forward(self, x):
        ...
""")
    assert [(model.name, model.obstacle) for model in report.models] == [("Net", "no-module")]
    assert [finding.severity for finding in report.findings] == ["note"]


def test_a_class_that_derives_from_what_is_not_installed(lint):
    text = "import torch\nimport nowhere\n\nclass Net(nowhere.Model):\n    pass\n"
    report = lint(text, "net.py:Net")
    assert report.models[0].obstacle == "base-not-installed"
    (note,) = report.findings
    assert note.message == (
        "Net was not analysed: it derives from nowhere.Model, and nowhere is not installed"
    )
