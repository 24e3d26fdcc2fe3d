"""What a file imports, read from its text without parsing it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FROM = re.compile(
    r"^[ \t]*from[ \t]+([.\w]+)[ \t]+import[ \t]*(\([^)]*\)|(?:[^\n\\]|\\\r?\n|\\)*)", re.MULTILINE
)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w., \t]+)", re.MULTILINE)
_DYNAMIC = re.compile(r"(?:import_module|__import__)\(\s*f?[\"']([.\w]*)")
_COMMENT = re.compile(r"#[^\n]*")
_NAME = re.compile(r"^(\w+|\*)")


def imports(text: str) -> Iterator[str]:
    """Yield the dotted names that a file may import, with `*` for all within a package.

    Names in strings and comments are among them: what they stand for is looked at later.
    """
    for found in _FROM.finditer(text):
        module, names = found.groups()
        yield module
        joint = "" if module.endswith(".") else "."
        for part in _COMMENT.sub("", names.strip("()")).split(","):
            first = _NAME.match(part.strip(" \t\r\n\\"))
            if first and first[1] != "*":
                yield f"{module}{joint}{first[1]}"
    for match in _IMPORT.finditer(text):
        for part in match[1].split(","):
            name = part.split(" as ")[0].strip()
            if name:
                yield name
    for match in _DYNAMIC.finditer(text):
        if match[1]:
            yield f"{match[1]}*" if match[1].endswith(".") else match[1]
