"""The findings about files and models that do not run: what happened, and at which line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Literal

from nnlint.linter.discover.targets import Target
from nnlint.linter.findings import Finding, Location, ModelReport, Obstacle, Related
from nnlint.linter.load.protocol import Exit
from nnlint.linter.rules.base import Rule
from nnlint.linter.rules.tool.import_failed import ImportFailed
from nnlint.linter.rules.tool.not_analysed import NotAnalysed
from nnlint.linter.rules.tool.rule_crashed import RuleCrashed
from nnlint.linter.trace.positions import UserCode

Stage = Literal["import", "build", "analyse", "task"]

_LONGEST = 200
_SMALLER = "Make the model smaller for linting, by its arguments, or raise the memory limit."
_SIGNALS = {
    4: "an illegal instruction",
    6: "an abort",
    7: "a bus error",
    8: "an arithmetic error",
    9: "a kill, perhaps for want of memory",
    11: "a segmentation fault",
}
_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't|not enough)|std::bad_alloc|Cannot allocate memory"
)
_ELSEWHERE = re.compile(
    r"(RPC|process group|[Dd]istributed package) .*(initiali[sz]ed|doesn't have)"
    r"|(No|no|Cannot access) (CUDA|accelerator|NVIDIA)|Torch not compiled with CUDA"
)
_FATAL = re.compile(r"^(?:Fatal Python error|Windows fatal exception): (.+)$", re.MULTILINE)
_PYTHON_2 = re.compile(
    r"Missing parentheses in call to '(print|exec)'|multiple exception types must be parenth"
    r"|leading zeros in decimal integer"
)
_PYTHON_2_LINE = re.compile(r"^\s*(print\s+[^(=\s]|raise\s+\w+\s*,|except\s+\w+\s*,)|<>|\bur['\"]")


def describe(error: BaseException) -> str:
    """Return an exception's type and text on one line."""
    kind = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the user's own __str__
        text = ""
    full = f"{kind}: {text}" if text else kind
    return full if len(full) <= _LONGEST else full[: _LONGEST - 1] + "…"


def gigabytes(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1024**3:.3g} GiB"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory could not be had."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, (RuntimeError, OSError)) and bool(_OUT_OF_MEMORY.search(str(error)))


def is_abstract(error: BaseException) -> bool:
    """Tell whether an exception says that a class is only a base for others."""
    return isinstance(error, TypeError) and "instantiate abstract class" in str(error)


def is_elsewhere(error: BaseException) -> bool:
    """Tell whether an exception says that something is not here which may be there elsewhere.

    A model that reads its vocabulary when it is built, or that is a part of a distributed program,
    is no wrong model.
    """
    if is_out_of_memory(error):
        return False
    if isinstance(error, AttributeError) and isinstance(error.obj, argparse.Namespace):
        return True  # the program sets this option before it builds the model
    return isinstance(error, OSError) or (
        isinstance(error, (RuntimeError, ValueError)) and bool(_ELSEWHERE.search(str(error)))
    )


def raised(
    error: BaseException,
    code: UserCode,
    *,
    stage: Stage,
    target: Target | None = None,
    memory_bytes: int = 0,
) -> Finding:
    """Return the finding for an exception that the user's code let out."""
    location, further = code.raised(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        inner = code.from_lines(error.filename, error.lineno)
        if inner.path == code.path:
            location = inner
        else:
            further = [inner, *further]
    doing = _doing(stage)
    hint = ""
    if is_out_of_memory(error):
        message, hint = _too_large(stage, memory_bytes), _SMALLER
    elif isinstance(error, SystemExit):
        message = f"{doing} ends the program: sys.exit({'' if error.code is None else error.code})"
        hint = 'Put the program under `if __name__ == "__main__":`.'
    elif isinstance(error, ModuleNotFoundError) and error.name:
        message = f"{doing} needs the module {error.name}, which is not installed"
        hint = (
            f"Install {error.name.partition('.')[0]} in the environment that runs nnlint, "
            "or run nnlint from the folder that holds it."
        )
    else:
        message = f"{doing} raises {describe(error)}"
    return failed(
        location or _fallback(code, target),
        message,
        hint=hint,
        target=target,
        related=[Related(place, "raised from here") for place in further[:3]],
        evidence={"exception": type(error).__name__, "stage": stage},
    )


def ended(
    end: Exit, code: UserCode, *, stage: Stage, target: Target | None, timeout: float
) -> Finding:
    """Return the finding for a worker that did not come to its end."""
    location = innermost(end.crash, code) or innermost(end.output, code)
    doing = _doing(stage)
    evidence: dict[str, object] = {"stage": stage}
    hint = ""
    if end.limit == "time":
        message = f"{doing} takes longer than the limit of {timeout:g} s"
        evidence["timeout"] = timeout
        hint = "Raise the time limit if this is meant to take so long."
        if target is not None and stage != "task":
            # An endless loop looks like a slow model, or like one on a busy machine.
            place = [Related(location, "it was here then")] if location is not None else []
            return not_analysed(target, message, hint=hint, evidence=evidence, related=place)
    elif end.code < 0:
        what = _SIGNALS.get(-end.code, f"signal {-end.code}")
        message = f"{doing} crashes Python with {what}"
        evidence["signal"] = -end.code
    elif fatal := _FATAL.search(end.crash):  # Windows knows no signals
        message = f"{doing} crashes Python with {fatal[1]}"
    else:
        message = f"{doing} ends the process: os._exit({end.code})"
        evidence["exit_code"] = end.code
        hint = 'Put the program under `if __name__ == "__main__":`.'
    last = end.output.strip().splitlines()[-3:]
    if last and end.limit != "time":
        evidence["output"] = "\n".join(last)[-500:]
    return failed(
        location or _fallback(code, target), message, hint=hint, target=target, evidence=evidence
    )


def internal(text: str, code: UserCode, target: Target | None) -> Finding:
    """Return the finding for a defect of nnlint itself."""
    return _make(
        RuleCrashed,
        _fallback(code, target),
        f"nnlint failed on {target.name if target else 'this file'}: {text}",
        hint="This is a defect of nnlint: please report it with the model.",
        target=target,
    )


def arguments_do_not_fit(
    target: Target, assumed: Mapping[str, str], error: BaseException, at: Location | None
) -> Finding:
    """Return the note about a model for whose arguments no values were found."""
    needed = target.required or tuple(_short(key, target) for key in assumed)
    call = "its function" if target.kind == "factory" else "its constructor"
    plural = "s" if len(needed) > 1 else ""
    values = ", ".join(f"{name} = ..." for name in needed if name.isidentifier())
    flags = " ".join(f"--arg {name}=VALUE" for name in needed if name.isidentifier())
    taken = ", ".join(f"{_short(key, target)}={value}" for key, value in assumed.items())
    tried = f" with {_cut(taken)}" if taken else ""
    needs = f"the argument{plural} {', '.join(needed)}" if needed else "more than its defaults"
    return not_analysed(
        target,
        f"{call} needs {needs}, and{tried or ' without it'} it raises {describe(error)}",
        hint=(
            f"Give {'them' if plural else 'it'} with `{flags}`, or in pyproject.toml: "
            f'[tool.nnlint.models."{target.location.path}:{target.name}"] '
            f"kwargs = {{ {values} }}"
        )
        if values
        else "",
        evidence={"missing": list(needed), "assumed": dict(assumed)},
        related=[Related(at, "raised from here")] if at is not None else [],
    )


def not_built(
    target: Target, error: BaseException, at: Location | None, call: Location | None
) -> Finding:
    """Return the note about a model that does not run as the project seems to build it.

    No error, since arguments that are read from the source may not be those of a real run.
    """
    doing = "its function" if target.kind == "factory" else "its constructor"
    places = [Related(call, "it is built here")] if call is not None else []
    if at is not None:
        places.append(Related(at, "raised from here"))
    return not_analysed(
        target,
        f"{doing} raises {describe(error)} with the arguments that the project gives",
        hint="Give others in pyproject.toml: "
        f'[tool.nnlint.models."{target.location.path}:{target.name}"]',
        related=places,
    )


def too_large(target: Target, stage: Stage, at: Location | None, memory_bytes: int) -> Finding:
    """Return the note about a model that needs more memory than it may have here.

    Elsewhere it may have more.
    """
    return not_analysed(
        target,
        _too_large(stage, memory_bytes),
        hint=_SMALLER,
        related=[Related(at, "raised from here")] if at is not None else [],
    )


def stopped(target: Target, error: BaseException, at: Location | None) -> Finding:
    """Return the note about a model that is stopped by what is no fault of its own."""
    related = [Related(at, "raised from here")] if at is not None else []
    return not_analysed(target, f"building it raises {describe(error)}", related=related)


def _too_large(stage: Stage, memory_bytes: int) -> str:
    return f"{_doing(stage)} needs more memory than the limit of {gigabytes(memory_bytes)}"


def _short(key: str, target: Target) -> str:
    """Return an argument's name without the model's own."""
    inner = key.removeprefix(f"{target.name}(")
    return inner.replace(")", "", 1) if inner != key else key


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def not_analysed(
    target: Target,
    reason: str,
    *,
    hint: str = "",
    evidence: dict[str, object] | None = None,
    related: list[Related] | None = None,
) -> Finding:
    """Return the note that a model could not be judged."""
    return _make(
        NotAnalysed,
        target.location,
        f"{target.name} was not analysed: {reason}",
        hint=hint,
        target=target,
        evidence=evidence,
        related=related,
    )


def report(target: Target, finding: Finding, obstacle: Obstacle) -> ModelReport:
    """Return the report of a model that `finding` kept from being analysed."""
    place = target.location
    return ModelReport(
        target.name,
        place.path,
        place.line,
        analysed=False,
        reason=finding.message,
        obstacle=obstacle,
        class_name=target.class_name,
    )


def obstacle_of(error: BaseException, stage: Stage) -> Obstacle:
    """Return the kind of obstacle that an exception of the user's code is."""
    if is_out_of_memory(error):
        return "limit"
    if isinstance(error, ModuleNotFoundError):
        return "missing-package"
    if isinstance(error, SyntaxError):
        return "syntax"
    if is_abstract(error):
        return "no-module"
    by_stage: Mapping[Stage, Obstacle] = {"import": "import", "build": "build"}
    return by_stage.get(stage, "forward")


def syntax_error(error: SyntaxError, path: str, text: str) -> Finding:
    """Return the finding for a file that does not parse."""
    code = UserCode(path, text, "")
    line = min(error.lineno or 1, max(len(text.splitlines()), 1))
    whole = code.from_lines(path, line)
    column = error.offset or whole.column
    end = error.end_offset if error.end_lineno == line and error.end_offset else 0
    location = Location(path, line, column, line, max(end, column + 1) if end else 0)
    source_line = text.splitlines()[line - 1] if text else ""
    old = _PYTHON_2.search(error.msg or "") or _PYTHON_2_LINE.search(source_line)
    if old:
        return failed(
            location,
            f"the file is written for Python 2: {error.msg}",
            hint="Convert it to Python 3 first; `2to3` does most of the work.",
        )
    return failed(location, f"the file does not parse: {error.msg}")


def failed(
    location: Location,
    message: str,
    *,
    hint: str = "",
    target: Target | None = None,
    related: list[Related] | None = None,
    evidence: dict[str, object] | None = None,
) -> Finding:
    """Return a finding of the rule import-failed."""
    return _make(
        ImportFailed,
        location,
        message,
        hint=hint,
        target=target,
        related=related,
        evidence=evidence,
    )


def innermost(dump: str, code: UserCode) -> Location | None:
    """Return the innermost place of the user's code in what faulthandler has written."""
    blocks = re.split(
        r"^(?=(?:Current thread|Thread|Stack) .*most recent call first)", dump, flags=re.MULTILINE
    )
    stacks = [block for block in blocks if "most recent call first" in block]
    if not stacks:
        return None
    # A timer's dump does not mark the current thread; the oldest, the main one, comes last.
    current = [block for block in stacks if block.startswith(("Current", "Stack"))]
    best: tuple[int, Location] | None = None
    for match in re.finditer(
        r'^  File "(.*)", line (\d+) in ', (current or stacks)[-1], re.MULTILINE
    ):
        filename = _unescape(match[1])
        rank = code.rank(filename)
        if rank is not None and (best is None or rank < best[0]):
            best = (rank, code.from_lines(filename, int(match[2])))
    return best[1] if best else None


def _unescape(text: str) -> str:
    r"""Undo the \xe4 and \u1234 that faulthandler writes for characters beyond ASCII."""
    return re.sub(
        r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))",
        lambda found: chr(int(found[1] or found[2] or found[3], 16)),
        text,
    )


def _doing(stage: Stage) -> str:
    # Without the model's name, so that one fault in several models of a file is one finding.
    return {
        "import": "importing the file",
        "build": "building the model",
        "analyse": "running the model",
        "task": "capturing a training step",
    }[stage]


def _fallback(code: UserCode, target: Target | None) -> Location:
    return target.location if target else code.from_lines(code.path, 1)


def _make(
    rule: type[Rule],
    location: Location,
    message: str,
    *,
    hint: str,
    target: Target | None,
    related: list[Related] | None = None,
    evidence: dict[str, object] | None = None,
) -> Finding:
    places = list(related or ())
    if target and target.location != location:
        places.append(Related(target.location, f"{target.name} is defined here", "class"))
    return Finding(
        rule=rule.name,
        code=rule.code,
        severity=rule.severity,
        message=message,
        location=location,
        help=hint,
        model=target.name if target else "",
        evidence=evidence or {},
        related=tuple(places),
    )
