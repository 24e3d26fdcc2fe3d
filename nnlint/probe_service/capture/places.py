"""Where each operation and tensor of a captured step stands in the user's source."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

import torch
from torch import nn

from nnlint.linter.findings import Location
from nnlint.linter.measured import Site
from nnlint.linter.trace.convert import BuiltAt
from nnlint.linter.trace.positions import UserCode
from nnlint.probe_service.capture.bundle import TensorSite
from nnlint.probe_service.capture.redrawing import redrawable
from nnlint.probe_service.capture.wrapper import MODEL, TERMS, TrainingStep

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in ')
_REPEATED = re.compile(r"@\d+")


class Places:
    """Tells the place of each node of a step's exported graph.

    Args:
        step: The wrapper that was exported.
        code: Tells the user's frames.
        built_at: Tells where a layer was built, for the modules of the live model.
        model: The live model.
        fallback: The line of the model, where nothing nearer is known.
    """

    def __init__(
        self,
        step: TrainingStep,
        *,
        code: UserCode,
        built_at: BuiltAt,
        model: nn.Module,
        fallback: Location,
    ) -> None:
        self.step = step
        self.code = code
        self.fallback = fallback
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._built = {path: built_at(module) for path, module in self._modules.items()}

    def site(self, node: torch.fx.Node) -> Site:
        """Return the place of a node."""
        paths = self._paths(node)
        call = self.line(node)
        if not paths:
            place = self._of_loss(node) or call
            return Site("", place or self.fallback, place or self.fallback)
        path = paths[-1]
        built = self._layer(paths)
        location = call
        if built is not None and (call is None or self._contained(paths)):
            location = built
        location = location or self._nearest(paths)
        return Site(path, location, call or location, built)

    def in_loss(self, node: torch.fx.Node) -> bool:
        """Tell whether a node lies outside the model."""
        return not self._paths(node)

    def line(self, node: torch.fx.Node) -> Location | None:
        """Return the user's line that a node comes from: in the linted file if any is."""
        trace = node.meta.get("stack_trace") or ""
        found = [(m["file"], int(m["line"])) for m in _FRAME.finditer(trace)]
        for wanted in (0, 1):
            for file, line in reversed(found):
                if self.code.rank(file) == wanted:
                    return self.code.from_lines(file, line)
        return None

    def tensor(self, name: str) -> TensorSite:
        """Return what is known of a parameter, buffer or constant by its qualified name."""
        path, _, own = name.rpartition(".")
        built = self._layer(_ancestors(path))
        place = built or self._nearest(_ancestors(path))
        drawn = redrawable(self._modules.get(path), own)
        return TensorSite(name, Site(path, place, place, built), drawn)

    def _paths(self, node: torch.fx.Node) -> list[str]:
        """Return the paths of the model's modules that a node lies in, outermost first."""
        stack = (node.meta.get("nn_module_stack") or {}).values()
        paths = [_REPEATED.sub("", str(entry[0])) for entry in stack]
        prefix = f"{MODEL}."
        return [
            path.removeprefix(prefix) if path != MODEL else ""
            for path in paths
            if path == MODEL or path.startswith(prefix)
        ]

    def _of_loss(self, node: torch.fx.Node) -> Location | None:
        """Return the line of the loss that a node outside the model belongs to."""
        terms = list(self.step.terms)
        for path, _ in (node.meta.get("nn_module_stack") or {}).values():
            head, _, rest = str(path).partition(".")
            if head == TERMS and rest:
                number = int(_REPEATED.sub("", rest.partition(".")[0]))
                return getattr(terms[number], "location", None)
        return getattr(terms[0], "location", None)

    def _layer(self, paths: Sequence[str]) -> Location | None:
        """Return where the layer was built that an operation belongs to.

        That is the outermost module whose forward is not the user's own code.
        """
        for path in paths:
            module = self._modules.get(path)
            if module is not None and path and not self._own(module) and not _container(module):
                return self._built.get(path)
        return None

    def _own(self, module: nn.Module) -> bool:
        forward = inspect.unwrap(type(module).forward)
        code = getattr(forward, "__code__", None)
        return code is not None and self.code.rank(code.co_filename) is not None

    def _contained(self, paths: Sequence[str]) -> bool:
        """Tell whether a layer is called by a container, so that its line is not in forward."""
        parents = [self._modules.get(path) for path in paths[:-1]]
        return bool(parents) and isinstance(parents[-1], nn.Sequential)

    def _nearest(self, paths: Sequence[str]) -> Location:
        for path in reversed(paths):
            found = self._built.get(path)
            if found is not None:
                return found
        return self.fallback


def _container(module: nn.Module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def _ancestors(path: str) -> list[str]:
    """Return "", "a", "a.b" for "a.b"."""
    parts = path.split(".") if path else []
    return ["", *(".".join(parts[: count + 1]) for count in range(len(parts)))]
