"""What the benchmark of the wild makes of a small tree and its labels."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from benchmarks import wild
from benchmarks.corpus.judge import Tree, judge, reach
from benchmarks.corpus.labels import CLEAN, DEFECTS, TWIN, Label, read_labels
from benchmarks.corpus.tables import alarms, tree_tables
from benchmarks.pages import write_section
from nnlint.linter.rules.base import all_rules

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TREE = "someone__nets@0123456"
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)
        self.spare = nn.Linear(8, 4)

    def forward(self, x):
        return torch.softmax(self.fc(x), 1)

class Fine(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(x)

def train(x, y):
    for net in (Net(), Fine()):
        loss = nn.CrossEntropyLoss()(net(x), y)
        loss.backward()
"""
STUCK = """
from torch import nn

class Stuck(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no weights")

    def forward(self, x):
        return x
"""


def row(name: str, kind: str, label: str = "defect", **more: Any) -> dict[str, Any]:
    return {
        "repo": "someone/nets",
        "commit": COMMIT,
        "path": "net.py",
        "class": name,
        "line": 5,
        "label": label,
        "kind": kind,
        "scope": "class",
        "confidence": "high",
        "evidence": "",
        **more,
    }


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture
def checkouts(tmp_path: Path) -> Path:
    tree = tmp_path / "trees" / TREE
    tree.mkdir(parents=True)
    (tree / "net.py").write_text(NET)
    (tree / "stuck.py").write_text(STUCK)
    return tmp_path / "trees"


def test_a_run_prints_reach_recall_alarms_and_what_was_missed(
    checkouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = written(
        tmp_path / "labels.jsonl",
        row("Net", "softmax-before-ce"),
        row("Net", "unused-layer"),
        row("Stuck", "missing-nonlinearity", path="stuck.py"),
        row("Fine", "raw-logits-with-ce", "clean", line=14),
        row("Net", "attention-softmax", "clean"),
        row("Net", "unused-layer", confidence="low"),
    )
    out = tmp_path / "result.json"
    assert wild.main([str(checkouts), str(labels), "--json", str(out), "--alarms"]) == 0
    text = capsys.readouterr().out
    assert "2 of 3 top-level model classes analysed: **66.7 %**" in text
    assert "**66.7 %** of 3 defects of class scope (2)" in text
    assert "**1** of 2 clean labels" in text
    assert f"| {TREE}/stuck.py:5 Stuck | missing-nonlinearity (high) | not reached" in text
    assert "RuntimeError: no weights" in text
    assert "## Every alarm at warning or above" in text
    result = json.loads(out.read_text())
    assert {each["fact"]["name"] for each in result["reached"]} == {"Net", "Fine", "Stuck"}
    jobs = result["trees"][TREE]["jobs"]
    assert {job["path"] for job in jobs} == {"net.py", "stuck.py"}
    assert all(job["cpu"] > 0 and job["wall"] > 0 for job in jobs)


def test_a_page_gets_the_summary_without_names_of_trees(
    checkouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkouts / "notes").mkdir()  # not a checkout
    (checkouts / TREE / "pyproject.toml").write_text("[tool.nnlint]\nno-such-key = 1\n")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- wild: begin -->\nold\n<!-- wild: end -->\nafter\n")
    labels = written(tmp_path / "labels.jsonl", row("Net", "softmax-before-ce"))
    assert wild.main([str(checkouts), str(labels), "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- wild: begin -->\n\nnnlint ")
    assert text.endswith("\n<!-- wild: end -->\nafter\n")
    assert "1 trees" in text
    assert "### Recall" in text
    assert "old" not in text.split("\n")
    assert TREE not in text
    assert TREE in capsys.readouterr().out


def test_a_page_without_the_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- wild: begin -->\n")
    with pytest.raises(ValueError, match="no section 'wild'"):
        write_section(page, "wild", "text")


def test_what_a_run_leaves_in_a_tree_is_told(
    checkouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run.py"
    run.write_text(
        "import pathlib, sys\n"
        "pathlib.Path(sys.argv[1], 'left.txt').touch()\n"
        "pathlib.Path(sys.argv[2]).write_text('{}')\n"
    )
    monkeypatch.setattr(wild, "RUN", run)
    tree = wild.lint_tree(checkouts / TREE, timeout=0.0, tree_timeout=100.0)
    assert tree.left == ["left.txt"]
    assert any("left.txt" in part for part in tree_tables([tree], []))


def test_a_tree_that_cannot_be_run_is_reported_as_such(
    checkouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkouts / TREE / "pyproject.toml").write_text("[tool.nnlint]\nno-such-key = 1\n")
    labels = written(tmp_path / "labels.jsonl", row("Net", "softmax-before-ce"))
    assert wild.main([str(checkouts), str(labels)]) == 0
    text = capsys.readouterr().out
    assert "| tree-failed | 3 | 100.0 % |" in text
    assert "the run ended with code 1" in text


def test_every_rule_of_a_finished_kind_exists() -> None:
    known = {rule.name for rule in all_rules()}
    kinds = DEFECTS | CLEAN
    pending = {kind for kind, rules in kinds.items() if not known & set(rules)}
    assert pending <= {"saturating-hidden", "missing-init", "ill-matched-init"}


def test_a_mended_twin_must_be_free_of_what_its_twin_is_labelled_with(tmp_path: Path) -> None:
    later = row("Net", TWIN, "clean", commit="f" * 40)
    labels = read_labels(written(tmp_path / "l", row("Net", "bias-before-bn"), later))
    assert labels[1].rules == ("bias-before-batchnorm",)


def test_a_kind_that_no_table_names_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'novel'"):
        read_labels(written(tmp_path / "l", row("Net", "novel")))


def label(name: str, path: str = "net.py", line: int = 5, *rules: str) -> Label:
    kind = "unused-layer"
    return Label(
        TREE,
        path,
        name,
        line,
        defect=True,
        kind=kind,
        scope="class",
        confidence="high",
        rules=rules,
        evidence="",
    )


def finding(line: int, path: str = "net.py", **more: Any) -> dict[str, Any]:
    place = {"path": path, "line": line, "column": 1, "end_line": line, "end_column": 2}
    return {
        "rule": "unused-layer",
        "code": "NNL501",
        "severity": "warning",
        "message": "",
        "model": "",
        "location": place,
        "related": [],
        "evidence": {},
        **more,
    }


def report(name: str, path: str = "net.py", **more: Any) -> dict[str, Any]:
    empty = {"class_name": "", "analysed": True, "obstacle": "", "reason": "", "assumed": {}}
    return {"name": name, "path": path, **empty, **more}


def tree(root: Path, **content: Any) -> Tree:
    (root / "net.py").write_text(NET)
    (root / "train.py").write_text("from net import Net\nmodel = Net()\n")
    return Tree(root, [], **content)


@pytest.mark.parametrize(
    ("found", "models", "matches"),
    [
        (finding(9), [], True),
        (finding(18), [], False),
        (finding(9, "train.py"), [], False),
        (finding(2, "train.py", model="Net"), [report("Net")], True),
        (finding(2, "train.py", model="Fine"), [report("Net"), report("Fine")], False),
        (finding(2, evidence={"models": ["Fine", "Net"]}), [report("Net")], True),
        (finding(2, model="net"), [report("net", class_name="Net")], True),
        (
            finding(2, "train.py", model="model"),
            [report("model", "train.py", class_name="Net")],
            True,
        ),
        (finding(9, rule="bias-before-batchnorm"), [], False),
        (
            finding(2, related=[{"location": finding(9)["location"], "role": "built"}]),
            [],
            True,
        ),
        (
            finding(2, related=[{"location": finding(9)["location"], "role": "class"}]),
            [],
            False,
        ),
    ],
)
def test_a_finding_is_about_a_class_by_its_lines_or_by_its_model(
    tmp_path: Path, found: dict[str, Any], models: list[dict[str, Any]], matches: bool
) -> None:
    verdict = judge(
        tree(tmp_path, findings=[found], models=models),
        label("Net", "net.py", 5, "unused-layer"),
        frozenset({"unused-layer"}),
    )
    assert bool(verdict.findings) is matches


def test_silence_has_a_reason(tmp_path: Path) -> None:
    known = frozenset({"unused-layer"})
    about = label("Net", "net.py", 5, "unused-layer")
    checks = [["unused-layer", "Net", "not-checked", "no graph"]]
    cases = {
        "reached and silent; unused-layer: not-checked, no graph": {
            "models": [report("Net")],
            "checks": checks,
        },
        "not reached: arguments: it needs x": {
            "models": [report("Net", analysed=False, obstacle="arguments", reason="it needs x")]
        },
        "no model of its own; 1 of 1 models of its file analysed": {"models": [report("Fine")]},
        "took too long": {"failure": "took too long"},
    }
    for reason, content in cases.items():
        assert judge(tree(tmp_path, **content), about, known).reason == reason
    assert judge(tree(tmp_path), about, frozenset()).reason == "there is no such rule"


def test_a_class_is_reached_where_another_file_builds_it(checkouts: Path) -> None:
    root = checkouts / TREE
    (root / "train.py").write_text(textwrap.dedent("from net import Net\nmodel = Net()\n"))
    facts = wild.survey(root, wild.source_files(root))
    models = [report("model", "train.py", class_name="Net")]
    obstacles = {r.fact.name: r.obstacle for r in reach(Tree(root, facts, models=models))}
    assert obstacles == {"Net": "", "Fine": "not-discovered", "Stuck": "not-discovered"}


def test_notes_and_findings_about_the_tool_are_no_alarms(tmp_path: Path) -> None:
    found = [finding(9), finding(9, severity="note"), finding(9, code="NNL001", severity="error")]
    assert len(alarms(tree(tmp_path, findings=found))) == 1
