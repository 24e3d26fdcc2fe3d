"""Which rules run: names, codes and code prefixes, and per-file exceptions.

The most specific selector decides: a name or a whole code beats a prefix, a longer prefix a
shorter one, any prefix `ALL`. Where both sides are equally specific, `ignore` wins.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from nnlint.errors import UsageError
from nnlint.linter.rules.base import Category, Rule, all_rules
from nnlint.linter.settings import LintSettings

ALL = "ALL"
_EXACT = 100
_PREFIX = re.compile(r"NNL\d{0,3}")


def split_selectors(values: Iterable[str]) -> tuple[str, ...]:
    """Return the selectors of repeated and comma-separated values, without repetition."""
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def specificity(selector: str, rule: type[Rule]) -> int | None:
    """Return how closely a selector names a rule, None when it does not."""
    if selector == rule.name or selector.upper() == rule.code:
        return _EXACT
    if selector.upper() == ALL:
        return 0
    prefix = selector.upper()
    return len(prefix) if _PREFIX.fullmatch(prefix) and rule.code.startswith(prefix) else None


def find_rule(key: str, rules: Sequence[type[Rule]] | None = None) -> type[Rule]:
    """Return the rule with that name or code.

    Raises:
        UsageError: When there is none, with the closest name as a hint.
    """
    known = all_rules() if rules is None else rules
    for rule in known:
        if specificity(key, rule) == _EXACT:
            return rule
    raise UsageError(f"unknown rule {key!r}", hint=suggest(key, known))


def check_selectors(selectors: Iterable[str], rules: Sequence[type[Rule]] | None = None) -> None:
    """Raise UsageError for the first selector that matches no rule."""
    known = all_rules() if rules is None else rules
    for selector in selectors:
        if selector.upper() == ALL:
            continue
        if all(specificity(selector, rule) is None for rule in known):
            raise UsageError(f"unknown rule {selector!r}", hint=suggest(selector, known))


def suggest(key: str, rules: Sequence[type[Rule]] | None = None) -> str:
    """Return a hint that names the rule closest to a misspelt one."""
    known = all_rules() if rules is None else rules
    words = {word.lower(): word for rule in known for word in (rule.name, rule.code)}
    lowered = key.lower().replace("_", "-")
    close = difflib.get_close_matches(lowered, words, 1, cutoff=0.6)
    # Half a name is what people remember; the distance of whole strings does not see that.
    close = close or [word for word in words if len(lowered) > 3 and lowered in word]
    return f"did you mean {words[close[0]]!r}?" if close else "`nnlint rule --all` lists them"


def resolve(
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    rules: Sequence[type[Rule]] | None = None,
) -> tuple[type[Rule], ...]:
    """Return the rules to run, sorted by code; without `select` the default ones.

    The tool's own rules (a file that cannot be loaded, for example) run unless they are ignored:
    a selection must not hide that nothing was checked.
    """
    known = all_rules() if rules is None else rules
    select, ignore = tuple(select), tuple(ignore)
    check_selectors((*select, *ignore), known)
    return tuple(rule for rule in known if _chosen(rule, select, ignore))


def resolve_for_lint(
    select: Iterable[str] = (), ignore: Iterable[str] = ()
) -> tuple[type[Rule], ...]:
    """Return the rules to run as `resolve` does, where only a lint follows.

    Raises:
        UsageError: Only rules are selected that judge a probe, so that nothing would be checked.
    """
    select = tuple(select)
    rules = resolve(select, ignore)
    kinds = {rule.category for rule in rules} - {Category.TOOL}
    if select and kinds == {Category.PROBE}:
        raise UsageError(
            f"only a probe can check {', '.join(select)}", hint="nnlint probe runs the model"
        )
    return rules


def _chosen(rule: type[Rule], select: Sequence[str], ignore: Sequence[str]) -> bool:
    wanted = _closest(rule, select)
    if wanted is None:
        tool = rule.category is Category.TOOL
        if not (rule.default and (tool or not select)):
            return False
        wanted = -1
    unwanted = _closest(rule, ignore)
    return unwanted is None or unwanted < wanted


def _closest(rule: type[Rule], selectors: Iterable[str]) -> int | None:
    found = (specificity(selector, rule) for selector in selectors)
    return max((value for value in found if value is not None), default=None)


def rules_for(
    path: str, rules: Sequence[type[Rule]], settings: LintSettings
) -> tuple[type[Rule], ...]:
    """Return those of `rules` that `per-file-ignores` leaves on for a file."""
    ignored = ignored_in(path, settings.per_file_ignores, settings.root)
    return tuple(rule for rule in rules if _closest(rule, ignored) is None)


def ignored_in(
    path: str, per_file_ignores: Mapping[str, Sequence[str]], root: str = ""
) -> tuple[str, ...]:
    """Return the selectors that `per-file-ignores` gives for a file."""
    return tuple(
        selector
        for pattern, selectors in per_file_ignores.items()
        if path_matches(pattern, path, root)
        for selector in selectors
    )


def path_matches(pattern: str, path: str, root: str = "") -> bool:
    """Return whether a glob matches a path relative to `root`, its name, or a folder around it.

    `*` and `?` stay within one part of the path, `**` spans any number of them.
    """
    relative = _relative(path, root)
    glob = pattern.replace("\\", "/").removeprefix("./").rstrip("/")
    expression = _expression(glob)
    # A pattern without a slash names a file or folder at any depth, as in .gitignore.
    names = relative.split("/") if "/" not in glob else _with_parents(relative)
    return any(expression.fullmatch(name) for name in names)


def _relative(path: str, root: str) -> str:
    absolute, base = Path(path).absolute(), Path(root or ".").absolute()
    found = absolute.relative_to(base) if absolute.is_relative_to(base) else PurePath(absolute)
    return found.as_posix()


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


@functools.cache
def _expression(glob: str) -> re.Pattern[str]:
    parts = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(parts.get(token) or re.escape(token) for token in tokens), re.DOTALL)
