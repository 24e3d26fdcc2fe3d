from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from nnlint.errors import ConfigError, UsageError
from nnlint.linter.config import find_config, load_config
from nnlint.linter.config_table import json_schema, read_table
from nnlint.linter.settings import InputSpec, LintSettings
from nnlint.linter.values import parse_argument, parse_dtype, parse_input, parse_loss, parse_size

FULL = """
[tool.nnlint]
select = ["ALL"]
ignore = ["NNL005", "invalid-suppression"]
fail-on = "error"
show = "warning"
output-format = ["text", "sarif:nnlint.sarif"]
timeout = 30
memory-limit = "4GB"
exclude = ["old/**"]

[tool.nnlint.per-file-ignores]
"tests/*" = ["NNL0"]

[tool.nnlint.models."src/net.py:Net"]
args = [3, "wide"]
kwargs = { depth = 18 }
inputs = ["2x3x8x8", { shape = [2, 128], dtype = "int64" }, "mask=2x128:bool"]
loss = "nn.CrossEntropyLoss"

[tool.nnlint.models."src/net.py:Text"]
inputs = { ids = "2x128:long", types = { shape = [2, 128], dtype = "int64" } }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_table_becomes_settings(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    config = load_config(tmp_path)
    settings = config.settings
    assert settings.select == ("ALL",)
    assert settings.ignore == ("NNL005", "invalid-suppression")
    assert settings.per_file_ignores == {"tests/*": ("NNL0",)}
    assert (settings.timeout, settings.memory_bytes) == (30.0, 4 * 1024**3)
    assert settings.root == str(tmp_path)
    net, text = settings.models["src/net.py:Net"], settings.models["src/net.py:Text"]
    assert (net.args, net.kwargs) == ((3, "wide"), {"depth": 18})
    assert net.loss == "torch.nn.CrossEntropyLoss"
    assert net.inputs == (
        InputSpec((2, 3, 8, 8)),
        InputSpec((2, 128), "int64"),
        InputSpec((2, 128), "bool", "mask"),
    )
    assert text.inputs == (
        InputSpec((2, 128), "int64", "ids"),
        InputSpec((2, 128), "int64", "types"),
    )
    assert (config.output.fail_on, config.output.show) == ("error", "warning")
    assert config.output.exclude == ("old/**",)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    assert load_config(tmp_path, isolated=True).settings == LintSettings()


def test_the_nearest_file_with_a_table_is_found(tmp_path: Path) -> None:
    outer = write(tmp_path, "[tool.nnlint]\ntimeout = 5\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(inner, "[tool.other]\n")
    (inner / "m.py").touch()
    assert find_config(inner) == outer
    assert load_config(inner / "m.py").settings.timeout == 5.0
    assert load_config(inner / "m.py").given == {"timeout"}
    write(inner, "[tool.nnlint]\n")
    assert load_config(inner / "m.py").settings.timeout == 60.0


def test_another_projects_broken_file_is_no_business_of_ours(tmp_path: Path) -> None:
    outer = write(tmp_path, "[tool.nnlint]\n")
    inner = tmp_path / "a"
    inner.mkdir()
    write(inner, "[tool.other\n")
    assert find_config(inner) == outer


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("selct = []", "tool.nnlint.selct: unknown key", "did you mean 'select'?"),
        ("per_file_ignores = {}", "tool.nnlint.per_file_ignores: unknown key", "per-file-ignores"),
        ('select = ["unused-supression"]', "tool.nnlint.select: unknown rule", "unused-suppress"),
        ("select = 3", "tool.nnlint.select: input should be a valid list, not 3", ""),
        ("select = [3]", "tool.nnlint.select[0]: input should be a valid string, not 3", ""),
        ('per-file-ignores = {"a.py" = ["NNX"]}', 'per-file-ignores."a.py": unknown rule', ""),
        ('fail-on = "fatal"', "tool.nnlint.fail-on: input should be 'error', 'warning'", ""),
        ("timeout = 0", "tool.nnlint.timeout: input should be greater than 0, not 0", ""),
        ('timeout = "5"', "tool.nnlint.timeout: input should be a valid number, not '5'", ""),
        ('memory-limit = "much"', "memory-limit: 'much' is no amount of memory", "8GB"),
        ("memory-limit = true", "memory-limit: True is no amount of memory", "8GB"),
        ("[tool.nnlint.models.Net]", "tool.nnlint.models: 'Net' names no model", "path.py:Name"),
        (
            '[tool.nnlint.models."a.py:Net"]\narg = []',
            'tool.nnlint.models."a.py:Net".arg: unknown key',
            "did you mean 'args'?",
        ),
        (
            '[tool.nnlint.models."a.py:Net"]\ninputs = ["2xa"]',
            "inputs: '2xa' is no input",
            "2x3x224x224",
        ),
        (
            '[tool.nnlint.models."a.py:Net"]\ninputs = [{shape = [2, true]}]',
            "inputs: the shape [2, True] is no list of integers",
            "",
        ),
        (
            '[tool.nnlint.models."a.py:Net"]\ninputs = [{shape = [2], dtpe = "int8"}]',
            "inputs: unknown key 'dtpe' of an input",
            "shape and dtype",
        ),
        ('[tool.nnlint.models."a.py:Net"]\ninputs = 3', "inputs: must be a list of inputs", ""),
        ('[tool.nnlint.models."a.py:Net"]\nloss = "mle"', "loss: unknown loss 'mle'", ""),
    ],
)
def test_an_error_names_file_key_and_reason(
    text: str, message: str, hint: str, tmp_path: Path
) -> None:
    path = write(tmp_path, f"[tool.nnlint]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert str(caught.value).startswith(f"{path}: tool.nnlint")
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_every_error_of_a_file_is_told(tmp_path: Path) -> None:
    write(tmp_path, '[tool.nnlint]\nselct = []\ntimeout = "x"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_bad_toml_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "[tool.nnlint]\nselect = [\nshow = 1\n")
    with pytest.raises(ConfigError, match=r"pyproject\.toml:\d+:\d+: ") as caught:
        load_config(tmp_path)
    assert str(caught.value).startswith(str(path))


def test_a_named_file_must_exist_and_have_the_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(path=tmp_path / "no.toml")
    with pytest.raises(ConfigError, match=r"there is no \[tool.nnlint\] table"):
        load_config(path=write(tmp_path, "[tool]\n"))
    with pytest.raises(ConfigError, match="must be a table"):
        load_config(path=write(tmp_path, "[tool]\nnnlint = 3\n"))
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.nnlint]\n# \xff\n")
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 16\)"):
        load_config(tmp_path)


def test_the_schema_accepts_what_is_accepted() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    table = tomllib.loads(FULL)["tool"]["nnlint"]
    jsonschema.validate(json.loads(json.dumps(table)), schema)
    jsonschema.validate({"output-format": "json", "memory-limit": 10**9}, schema)
    for bad in ({"selct": []}, {"models": {"a.py:N": {"arg": []}}}, {"show": "never"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
    assert read_table({"output-format": "json"}, "x").output_format == ["json"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2x3x224x224", InputSpec((2, 3, 224, 224))),
        ("2x128:int64", InputSpec((2, 128), "int64")),
        (" ids = 2x128 : torch.long ", InputSpec((2, 128), "int64", "ids")),
        ("8", InputSpec((8,))),
        ("2,3", InputSpec((2, 3))),
        (":float32", InputSpec(())),
    ],
)
def test_inputs_are_read(text: str, expected: InputSpec) -> None:
    assert parse_input(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "2x", "-1x2", "2x3:flot32", "0x3", "a b=2", "2x3:", "=2", "9" * 40, "٣x٤"]
)
def test_bad_inputs_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_input(text)
    assert caught.value.hint


def test_losses_are_understood_however_they_are_written() -> None:
    for text in ("cross_entropy", "F.cross_entropy", "torch.nn.functional.cross_entropy", "ce"):
        assert parse_loss(text) == "cross_entropy"
    for text in ("CrossEntropyLoss", "nn.CrossEntropyLoss", "torch.nn.CrossEntropyLoss"):
        assert parse_loss(text) == "torch.nn.CrossEntropyLoss"
    assert parse_loss("bce_with_logits") == "binary_cross_entropy_with_logits"
    with pytest.raises(UsageError) as caught:
        parse_loss("CrossEntropyLos")
    assert caught.value.hint == "did you mean 'CrossEntropyLoss'?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", ("", 3)),
        ("wide", ("", "wide")),
        ("'3'", ("", "3")),
        ("depth=18", ("depth", 18)),
        ("sizes=[1, 2]", ("sizes", [1, 2])),
        ("name=", ("name", "")),
        ("a==b", ("a", "=b")),
        ("[1=2]", ("", "[1=2]")),
        ("-1.5", ("", -1.5)),
        ("None", ("", None)),
    ],
)
def test_arguments_are_literals_or_strings(text: str, expected: tuple[str, object]) -> None:
    assert parse_argument(text) == expected


def test_sizes_and_types_are_read() -> None:
    assert parse_size("8GB") == parse_size("8 GiB") == parse_size("8g") == 8 * 1024**3
    assert parse_size("1.5K") == 1536
    assert parse_size(1000) == 1000
    for bad in ("0", "-1", "8XB", ""):
        with pytest.raises(UsageError):
            parse_size(bad)
    assert parse_dtype("torch.half") == "float16"
    with pytest.raises(UsageError) as caught:
        parse_dtype("flaot32")
    assert caught.value.hint == "did you mean 'float32'?"
