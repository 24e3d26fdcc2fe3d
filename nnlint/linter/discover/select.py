"""The choice of targets: classes, factories or instances, each model once."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable

from nnlint.linter.discover import sinks
from nnlint.linter.discover.blocks import users, uses_of
from nnlint.linter.discover.classes import ClassInfo, name_location, registries
from nnlint.linter.discover.constructing import best, construction_of
from nnlint.linter.discover.flow import Interpreter
from nnlint.linter.discover.machine import Record
from nnlint.linter.discover.recipes import Construction
from nnlint.linter.discover.recording import merge
from nnlint.linter.discover.switches import Switch, agree, deciding_names, switches
from nnlint.linter.discover.targets import OutputUse, Target
from nnlint.linter.discover.values import ClassRef, Made

_SEQUENTIAL = "torch.nn.Sequential"


class Selection:
    """The models of a file, chosen after its abstract run.

    Attributes:
        models: Classes that are models and not parts of other models.
    """

    def __init__(self, run: Interpreter, others: Iterable[Interpreter] = ()) -> None:
        self.source = run.unit.source
        self.run = run
        self.runs = (run, *others)
        self.met = {record.made.root for record in run.records}
        self.met_classes = {
            record.made.info
            for each in self.runs
            for record in each.records
            if record.made.info is not None and sinks.loss(record.use.sink)
        }
        self.mentioned = uses_of(run.classes, run.mentions, registries(self.source))
        self.given = {
            value.info if isinstance(value, ClassRef) else value.root.info or value.root
            for receiver, value in run.given
            if isinstance(value, ClassRef | Made) and self._takes_blocks(receiver, value)
        }
        self.models = self._models()
        self.factories = {
            name: made for name, made in run.factories.items() if self._is_factory(name, made)
        }
        self.builders = {run.functions[name]: name for name in self.factories}
        self.instances = self._instances()
        self.classes = self._classes()
        self.usual: dict[Made, bool] = {}
        self.deciding: dict[ClassInfo, tuple[frozenset[str], dict[str, Switch]]] = {}

    def targets(self) -> tuple[Target, ...]:
        """Return the targets in source order."""
        uses: dict[str, list[OutputUse]] = {}
        passed: dict[str, set[str]] = {}
        for run in self.runs:
            for record in run.records:
                for name in self._attributed(record.made.root, run):
                    use = self._judged(record, name)
                    uses.setdefault(name, []).append(use)
            for made, names in run.passed:
                for name in self._attributed(made.root, run):
                    passed.setdefault(name, set()).update(names)
        written = {
            name
            for run in self.runs
            for made in run.made
            if made.root.written
            for name in self._attributed(made.root, run)
        }
        found = [self._class_target(info) for info in self.classes.values()]
        found += [self._factory_target(name, made) for name, made in self.factories.items()]
        found += [self._instance_target(name, made) for name, made in self.instances.items()]
        complete = [
            Target(
                name=target.name,
                kind=target.kind,
                location=target.location,
                class_name=target.class_name,
                required=target.required,
                constructions=target.constructions,
                uses=merge(uses.get(target.name, ())),
                passed=frozenset(passed.get(target.name, ()))
                | self.run.loss_parameters.get(target.class_name, frozenset()),
                lightning=target.lightning,
                written=target.name in written,
            )
            for target in found
        ]
        return tuple(sorted(complete, key=lambda target: (target.location, target.name)))

    def _judged(self, record: Record, name: str) -> OutputUse:
        """Return a use, uncertain where its model is built otherwise than the one to be linted."""
        made = record.made.root
        info = self.classes.get(name)
        if info is None or made.info is not info or made.site is None:
            return record.use
        if made not in self.usual:
            self.usual[made] = self._is_usual(made, info)
        return record.use if self.usual[made] else dataclasses.replace(record.use, certain=False)

    def _is_usual(self, made: Made, info: ClassInfo) -> bool:
        """Tell whether an object has the switches of the way in which its class is built first."""
        if info not in self.deciding:
            first = self._constructions(info)[:1] if info.required else ()
            names = deciding_names(each.node for each in info.mro)
            usual = switches(info, first[0] if first else Construction(), names)
            self.deciding[info] = names, usual
        names, usual = self.deciding[info]
        return agree(usual, switches(info, construction_of(made, info), names))

    def _constructions(self, info: ClassInfo) -> tuple[Construction, ...]:
        return best(each for run in self.runs for each in run.constructions.get(info, ()))

    def _takes_blocks(self, receiver: Made, value: ClassRef | Made) -> bool:
        """Tell whether a value given to a constructor becomes a part of a model."""
        if isinstance(value, Made) and value.root is receiver.root:
            return False
        info = receiver.info
        if info is None:
            return receiver.root in self.run.global_roots
        if info.criterion_like or value.info is info:
            return False
        # The parts of a wrapper are trained through it, unless they meet a loss themselves.
        wrapper = info.lightning or not info.has_forward
        return not (wrapper and isinstance(value, Made) and value.info in self.met_classes)

    def _models(self) -> dict[str, ClassInfo]:
        modules = {
            name: info
            for name, info in self.run.classes.items()
            if info.module and not info.torch_loss
        }
        bases = {base for info in self.run.classes.values() for base in info.bases}
        used_by = users(
            {
                name: mentioned
                for name, mentioned in self.mentioned.items()
                if name in modules and (modules[name].lightning or modules[name].has_forward)
            }
            | {name: frozenset() for name in modules if not self._builds(modules[name])}
        )
        criteria = self.run.criteria - self.run.models_called
        own: dict[str, ClassInfo] = {}
        for name, info in modules.items():
            if info in criteria or info.abstract:
                continue
            if not info.has_forward and not info.lightning and info in bases:
                continue
            owners = [self.run.classes[user] for user in used_by[name]]
            wrapped = all(owner.lightning for owner in owners) and info in self.met_classes
            if (owners and not wrapped) or info in self.given:
                continue
            own[name] = info
        containers = [
            name
            for name, info in own.items()
            if not info.has_forward
            and not info.lightning
            and any(part in self.mentioned[name] for part in own if part != name)
        ]
        for name in containers:
            del own[name]
        if own:
            return own
        rest = {name: info for name, info in modules.items() if info not in criteria}
        return {name: info for name, info in rest.items() if not info.abstract} or rest

    @staticmethod
    def _builds(info: ClassInfo) -> bool:
        return info.lightning or info.has_forward

    def _is_model(self, made: Made) -> bool:
        if made.info is not None:
            return self.models.get(made.info.name) is made.info
        if made in self.given:
            return False
        if made.dotted == _SEQUENTIAL:
            return made in self.met or _has_weights(made)
        return made.dotted in sinks.LEARNED and made in self.met

    def _read_by_model(self, name: str) -> bool:
        return any(name in mentioned for mentioned in self.mentioned.values())

    def _collapses(self, made: Made) -> bool:
        """Tell whether the class says as much as this object of it."""
        return (
            made.info is not None
            and not made.custom
            and not made.info.required
            and self.models.get(made.info.name) is made.info
        )

    def _is_factory(self, name: str, made: tuple[Made, ...]) -> bool:
        if self._read_by_model(name) or not all(self._is_model(one) for one in made):
            return False
        if all(one.dotted and one.dotted != _SEQUENTIAL for one in made):
            return False
        if all(self._collapses(one) and not one.touched for one in made):
            return False
        factories = {self.run.functions[one] for one in self.run.factories}
        # A function that only passes on what another factory builds by itself is an alias.
        return not all(
            any(
                inner is not self.run.functions[name] and not given and inner in factories
                for inner, given in one.trail
            )
            for one in made
        )

    def _instances(self) -> dict[str, tuple[Made, ast.stmt]]:
        found: dict[str, tuple[Made, ast.stmt]] = {}
        for name, bound in self.run.globals.items():
            made, node = bound[-1]
            if not self._is_model(made) or self._read_by_model(name) or self._collapses(made):
                continue
            if any(inner in self.builders and not given for inner, given in made.trail):
                continue
            found[name] = (made, node)
        return found

    def _classes(self) -> dict[str, ClassInfo]:
        covered = {made.info for made, _ in self.instances.values()}
        covered |= {one.info for made in self.factories.values() for one in made}
        plain = {
            made.info
            for made in self.run.made
            if self._collapses(made) and not any(inner in self.builders for inner, _ in made.trail)
        }
        return {
            name: info for name, info in self.models.items() if info not in covered or info in plain
        }

    def _attributed(self, made: Made, run: Interpreter) -> list[str]:
        """Return the targets that an object of a run speaks for."""
        if run is not self.run:
            twins = [name for name, (one, _) in self.instances.items() if _twins(one, made)]
            if len(twins) == 1:
                return twins
        for name, (instance, _) in self.instances.items():
            if instance is made or (self._is_alternative(made, name) and not self._collapses(made)):
                return [name]
        for called, _ in reversed(made.trail):
            if called in self.builders:
                return [self.builders[called]]
        if made.info is None:
            return []
        if self.classes.get(made.info.name) is made.info:
            return [made.info.name]
        names = [name for name, (one, _) in self.instances.items() if one.info is made.info]
        names += [
            name
            for name, built in self.factories.items()
            if any(one.info is made.info for one in built)
        ]
        return names

    def _is_alternative(self, made: Made, name: str) -> bool:
        """Tell whether a variable may hold an object at the end: it is bound in another branch.

        What one statement of the module binds and a later one binds anew is gone by then.
        """
        bound = self.run.globals[name]
        _, last = bound[-1]
        return any(
            one is made and (node is last or not {node, last} & set(self.source.tree.body))
            for one, node in bound
        )

    def _class_target(self, info: ClassInfo) -> Target:
        return Target(
            name=info.name,
            kind="class",
            location=name_location(self.source, info.node),
            class_name=info.name,
            required=info.required,
            constructions=self._constructions(info),
            lightning=info.lightning,
        )

    def _factory_target(self, name: str, made: tuple[Made, ...]) -> Target:
        infos = {one.info for one in made}
        info = infos.pop() if len(infos) == 1 else None
        return Target(
            name=name,
            kind="factory",
            location=name_location(self.source, self.run.functions[name]),
            class_name=info.name if info else "",
            lightning=info.lightning if info else False,
        )

    def _instance_target(self, name: str, bound: tuple[Made, ast.stmt]) -> Target:
        made, node = bound
        info = made.info
        return Target(
            name=name,
            kind="instance",
            location=self.source.location(node),
            class_name=info.name if info else "",
            constructions=self._rebuilding(made),
            lightning=info.lightning if info else False,
        )

    def _rebuilding(self, made: Made) -> tuple[Construction, ...]:
        """Return how the class of an instance is built, if that gives what the instance is."""
        info = made.info
        if info is None or made.root.altered or self.run.classes.get(info.name) is not info:
            return ()
        return best((construction_of(made.root, info), *self._constructions(info)))


def _twins(left: Made, right: Made) -> bool:
    """Tell whether two runs made an object by the same call."""
    return left.site is not None and left.site == right.site


def _has_weights(made: Made) -> bool:
    """Tell whether a Sequential holds, or may hold, a layer with weights."""
    if made.arguments.open:
        return True
    return any(
        not isinstance(part, Made)
        or part.info is not None
        or part.dotted in sinks.LEARNED
        or part.dotted == _SEQUENTIAL
        for part in made.arguments.positional
    )
