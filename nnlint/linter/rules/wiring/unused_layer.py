"""The rule unused-layer (NNL501)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Location, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.wiring.attributes import Attributes, attributes_of
from nnlint.linter.rules.wiring.modules import Unused, count_parameters, listing, unused_modules


class UnusedLayer(Rule):
    """A layer is registered, but forward never uses it.

    ## What it does
    Finds registered layers that no operation of the traced forward comes from.

    ## Why is this bad?
    Usually a line of forward is missing or calls another layer twice: the model has less depth
    than its constructor says. The parameters get no gradient, cost memory and checkpoint space,
    and `DistributedDataParallel` stops at them.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(20, 64)
            self.fc2 = nn.Linear(64, 64)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.fc1(x))
            return self.head(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(20, 64)
            self.fc2 = nn.Linear(64, 64)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.fc1(x))
            x = torch.relu(self.fc2(x))
            return self.head(x)
    ```

    ## How it is decided
    A module is used when an operation of the trace happens in it, or when one of its parameters
    is read. Of what is unused the outermost module is reported. A layer that code of the file may
    use elsewhere (another method, a branch of forward, `model.head(x)`) is left alone. Layers
    that the file itself does not define, such as the classifier of a backbone whose features are
    taken, are a note, and so are whole sub-models that training code elsewhere may call. A layer
    without parameters, such as an activation, costs nothing when it is left over, but may be
    missing where it was meant: a note.

    ## Known limits
    Training code in another file that calls a layer by itself is not seen. Elements of a list that
    are chosen by a computed index are not judged.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/ddp.html
    """

    name = "unused-layer"
    code = "NNL501"
    severity = Severity.WARNING
    category = Category.WIRING
    probe = "no-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Report the outermost modules that the trace does not touch."""
        groups: dict[tuple[Location | None, Severity], list[Unused]] = {}
        texts: dict[type, list[Attributes]] = {}
        reached: dict[type, set[int]] = {}
        for unused in unused_modules(graph):
            owner = type(unused.owner)
            if owner not in texts:
                texts[owner] = list(attributes_of(owner, graph.source))
                reached[owner] = set().union(*(t.reached(graph.model) for t in texts[owner]))
            if id(unused.module) in reached[owner]:
                continue
            verdict = self._judge(graph, unused, texts[owner])
            if isinstance(verdict, NotChecked):
                yield verdict
            elif verdict is not None:
                groups.setdefault((graph.built_at(unused.module), verdict), []).append(unused)
        for (place, severity), members in groups.items():
            yield self._report(graph, place, severity, members)

    def _judge(
        self, graph: ModelGraph, unused: Unused, texts: list[Attributes]
    ) -> Severity | NotChecked | None:
        """Return the severity for one module; None where its class's own text may use it."""
        owners = {cls.__name__ for cls in type(unused.owner).__mro__}
        if unused.key:
            if not any(_skips(text, owners, unused) for text in texts):
                return NotChecked(f"which elements of {unused.attribute!r} run may change")
        elif any(text.uses(owners, unused.attribute) for text in texts):
            return None
        if not any(text.stores(owners, unused.attribute) for text in texts[:1]):
            return Severity.NOTE
        if not count_parameters(unused.module):
            return Severity.NOTE
        foreign = type(unused.module).__module__.partition(".")[0] != "torch"
        if foreign and unused.owner is graph.model and not graph.loss_known:
            return Severity.NOTE
        return self.severity

    def _report(
        self, graph: ModelGraph, place: Location | None, severity: Severity, members: list[Unused]
    ) -> Finding:
        total = sum(count_parameters(unused.module) for unused in members)
        kinds = {type(unused.module).__name__ for unused in members}
        what = ", ".join(
            [*(kinds if len(kinds) == 1 else ()), *([f"{total:,} parameters"] if total else ())]
        )
        verb = "is" if len(members) == 1 else "are"
        advice = "call it in forward or delete it"
        if total:
            advice += (
                ": its parameters never get a gradient, and DistributedDataParallel stops at them"
            )
        return self.finding(
            graph,
            place,
            f"{listing(u.path for u in members)}{f' ({what})' if what else ''} {verb} never used"
            " in forward",
            help=advice,
            severity=severity,
            evidence={"parameters": total},
            modules=[unused.path for unused in members],
        )


def _skips(text: Attributes, owners: set[str], unused: Unused) -> bool:
    """Tell whether a list is only used as `self.name[constant]`, and never with this key."""
    indices = text.indices.get(unused.attribute)
    if not indices or not text.uses(owners, unused.attribute):
        return False
    if unused.attribute in text.foreign:
        return False
    keys = {str(i + unused.size if isinstance(i, int) and i < 0 else i) for i in indices}
    return unused.key not in keys
