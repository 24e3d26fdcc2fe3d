"""A probe confirms or refutes what the lint found, or has not seen it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nnlint.linter.experiments import Attempt, Experiments, Overfit
from nnlint.linter.findings import Check, Finding, Location, Related, Severity
from nnlint.linter.measured import Measured
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import all_rules, rule_by_key
from nnlint.probe_service.diagnose import join
from tests.probe.diagnose.made import NAN, chain, off, operand, origin, with_node, with_parameter

HEALTHY = chain([1e-3, 2e-3, 3e-3, 1e-2])


def finding(rule: str, line: int = 200, *modules: str, **changes: Any) -> Finding:
    found = rule_by_key()[rule]
    return dataclasses.replace(
        Finding(
            found.name,
            found.code,
            found.severity,
            "it is so",
            Location("net.py", line),
            model="Net",
            modules=modules,
        ),
        **changes,
    )


def joined(static: Finding, measured: Measured) -> tuple[Finding, list[Finding]]:
    findings, checks = run_probe_rules(measured, all_rules())
    first, *others = join([static], findings, checks, measured)
    return first, others


def verdict(found: Finding) -> str | None:
    probe = found.evidence.get("probe")
    return None if probe is None else probe["verdict"]


def test_dead_units_of_the_same_layer_confirm_and_the_two_refer_to_each_other() -> None:
    dead = dataclasses.replace(HEALTHY, units=(off(64, of=64, node=1),))
    static, (probe,) = joined(finding("dead-relu-bias", 200, "fc0"), dead)
    assert static.evidence["probe"] == {
        "verdict": "confirmed",
        "by": "dead-units",
        "message": probe.message,
    }
    assert static.severity is Severity.ERROR
    assert probe.location in [place.location for place in static.related]
    assert static.location in [place.location for place in probe.related]


def test_units_that_fire_refute_and_the_finding_becomes_a_note() -> None:
    alive = dataclasses.replace(HEALTHY, units=(off(2, of=64, node=1),))
    static, _ = joined(finding("dead-relu-bias", 200, "fc0"), alive)
    assert verdict(static) == "refuted"
    assert static.severity is Severity.NOTE
    assert static.evidence["probe"]["message"] == "62 of 64 units fire"


@pytest.mark.parametrize("module", ["fc2", ""])
def test_units_of_another_layer_refute_nothing(module: str) -> None:
    alive = dataclasses.replace(HEALTHY, units=(off(2, of=64, node=1),))
    static, _ = joined(finding("dead-relu-bias", 200, *filter(None, [module])), alive)
    assert verdict(static) == "not-seen"
    assert static.severity is Severity.ERROR


@pytest.mark.parametrize("rule", ["sqrt-at-zero", "log-unguarded", "division-unguarded"])
def test_a_risk_that_did_not_occur_is_not_refuted(rule: str) -> None:
    static, others = joined(finding(rule, 30), HEALTHY)
    assert verdict(static) == "not-seen"
    assert static.evidence["probe"]["message"] == "not seen in 3 steps"
    assert static.severity is rule_by_key()[rule].severity
    assert others == []


def test_a_risk_is_confirmed_by_its_line_and_not_by_its_module() -> None:
    bad = dataclasses.replace(
        with_node(HEALTHY, 1, operator="aten.log.default"),
        non_finite=(origin(1, operands=(operand(0, 1),)),),
        losses=(NAN,) * 3,
    )
    static, _ = joined(finding("log-unguarded", 30, "fc0"), bad)
    assert verdict(static) == "confirmed"
    static, _ = joined(finding("log-unguarded", 31, "fc0"), bad)
    assert verdict(static) == "not-seen"


def test_samples_that_cannot_be_learned_confirm_a_wrong_output_of_the_same_model() -> None:
    tried = Overfit(56, (Attempt(0.01, (2.3, 1.5), reached=False),), steps=400)
    asked = Experiments(("overfit",), overfit=tried)
    stuck = dataclasses.replace(HEALTHY, experiments=asked, losses=())
    static, _ = joined(finding("softmax-before-cross-entropy", 30, "head"), stuck)
    assert verdict(static) == "confirmed"


def test_samples_that_are_learned_say_that_it_was_not_seen_without_counting_steps() -> None:
    tried = Overfit(56, (Attempt(0.01, (2.3, 0.01), reached=True),), steps=400)
    asked = Experiments(("overfit",), overfit=tried)
    learned = dataclasses.replace(HEALTHY, experiments=asked, losses=())
    static, _ = joined(finding("softmax-before-cross-entropy", 30, "head"), learned)
    assert static.evidence["probe"]["message"] == "not seen"


def test_gradients_that_arrive_refute_a_cut_and_missing_ones_confirm_it() -> None:
    static, _ = joined(finding("detached-path", 77, "fc0"), HEALTHY)
    assert verdict(static) == "refuted"
    assert static.severity is Severity.NOTE
    nothing: dict[str, Any] = {"gradient_rms": (None,) * 3, "gradient_abs_max": (None,) * 3}
    cut = with_parameter(HEALTHY, "fc0", **nothing)
    static, (probe,) = joined(finding("detached-path", 77, "fc0"), cut)
    assert verdict(static) == "confirmed"
    assert any("detached-path says why" in place.message for place in probe.related)


def test_gradients_of_some_layers_do_not_refute_a_cut_of_others() -> None:
    static, _ = joined(finding("detached-path", 77, "elsewhere"), HEALTHY)
    assert verdict(static) == "not-seen"


@pytest.mark.parametrize(
    "static",
    [
        finding("dead-relu-bias", 200, "fc0", model="Other"),
        finding("dead-relu-bias", 200, "fc0", location=Location("other.py", 3)),
        finding("dropout-rate", 200, "fc0"),
        finding("batch-mixing", 200, "fc0"),
        finding("constant-init", 200, "fc0"),
    ],
    ids=["another model", "another file", "no probe", "a probe to come", "certain without one"],
)
def test_what_the_probe_cannot_settle_stays_as_it_is(static: Finding) -> None:
    found, _ = joined(static, HEALTHY)
    assert found == static


def test_a_check_that_could_not_judge_gives_no_verdict() -> None:
    few = dataclasses.replace(HEALTHY, units=(off(2, of=64, node=1, samples=16),))
    static, _ = joined(finding("dead-relu-bias", 200, "fc0"), few)
    assert verdict(static) is None


def test_a_finding_of_several_models_counts_for_each() -> None:
    shared = finding("dead-relu-bias", 200, "fc0", model="Base")
    shared = dataclasses.replace(shared, evidence={"models": ["Base", "Net"]})
    dead = dataclasses.replace(HEALTHY, units=(off(64, of=64, node=1),))
    static, _ = joined(shared, dead)
    assert verdict(static) == "confirmed"
    assert static.evidence["models"] == ["Base", "Net"]


def test_nothing_to_join_changes_nothing() -> None:
    probe = finding("dead-units", 30, "fc0", related=(Related(Location("net.py", 1), "x"),))
    checks: list[Check] = []
    assert join([], [probe], checks, HEALTHY) == (probe,)
    assert join([finding("dead-relu-bias")], [], checks, HEALTHY) == (finding("dead-relu-bias"),)
