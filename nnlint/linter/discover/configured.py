"""Options in the abstract run: command lines, decorators, what makes and reads options."""

from __future__ import annotations

import ast
from abc import abstractmethod

from nnlint.linter.discover import commandline
from nnlint.linter.discover.classes import FunctionDef
from nnlint.linter.discover.containers import entries
from nnlint.linter.discover.holders import HOLDERS, held, merge, record_class
from nnlint.linter.discover.modules import Space
from nnlint.linter.discover.names import chain
from nnlint.linter.discover.plain import lift
from nnlint.linter.discover.reading import Reading
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    Bound,
    ClassRef,
    Constant,
    Function,
    Made,
    Parser,
    Sequence,
    Settings,
    Value,
    literal,
)

_PARSERS = frozenset(("ArgParser", "ArgumentParser", "HfArgumentParser", "OptionParser"))
_GROUPS = frozenset(
    [
        "add_argument_group",
        "add_mutually_exclusive_group",
        "add_option_group",
        "add_parser",
        "add_subparsers",
    ]
)
_ADDS = frozenset(("add", "add_argument", "add_option"))
_PARSES = frozenset(("parse", "parse_args", "parse_intermixed_args"))
_FIELDS = frozenset(("attr.field", "attr.ib", "attrs.field", "dataclasses.field"))
_DEFAULT_FIRST = frozenset(("pydantic.Field", "typer.Argument", "typer.Option"))
_SCHEMA_CALLS = frozenset(("draccus.parse", "pyrallis.parse", "simple_parsing.parse", "tyro.cli"))
_ALIKE = frozenset(("omegaconf.OmegaConf.create", "omegaconf.OmegaConf.structured"))
_TABLES = frozenset(
    ("attr.asdict", "attrs.asdict", "dataclasses.asdict", "omegaconf.OmegaConf.to_container")
)
_ENVIRONMENT = frozenset(("os.environ.get", "os.getenv"))
_STARTS = frozenset(("Process", "Thread", "spawn"))
_INSTANTIATES = frozenset(("hydra.utils.call", "hydra.utils.instantiate"))


class Configured(Reading):
    """The part of the abstract run that knows where options come from."""

    @abstractmethod
    def arguments_of(self, node: ast.Call) -> Arguments:
        """Return the arguments of a call."""

    def configure(self, dotted: str, arguments: Arguments, node: ast.expr) -> Value | None:
        """Call what makes or reads options; None for anything else."""
        last = dotted.rpartition(".")[2]
        first = arguments.positional[0] if arguments.positional else None
        if last in _PARSERS:
            return _parser(last, arguments)
        if last == "OptionGroup" and isinstance(first, Parser):
            return first
        if last.startswith("DEFINE_"):
            if (defined := commandline.flag(dotted, arguments)) is not None:
                self.flags.values.setdefault(*defined)
            return NOTHING
        if last in HOLDERS and "." in dotted:
            return held(first, arguments)
        if dotted in _ALIKE:
            return held(first) if entries(first) is not None else first
        if dotted == "omegaconf.OmegaConf.merge":
            return self._merged(arguments)
        if dotted in _TABLES and first is not None:
            return self.table(first)
        if dotted in _FIELDS or dotted in _DEFAULT_FIRST:
            return self._field_default(dotted, arguments, node)
        if dotted == "collections.namedtuple":
            return record_class(arguments)
        if dotted in _SCHEMA_CALLS:
            schema = first or arguments.keywords.get("config_class")
            return self.call(schema, Arguments(), node) if isinstance(schema, ClassRef) else None
        if dotted in _ENVIRONMENT:
            return arguments.get(1, "default") or Constant(None)
        if dotted in _INSTANTIATES:
            return self._instantiate(first, arguments, node)
        if last in _STARTS:
            return self._start_process(last, arguments, node)
        return self.load(dotted, arguments)

    def _start_process(self, kind: str, arguments: Arguments, node: ast.expr) -> Value | None:
        """Run what a new process or thread runs, with the arguments that it is given there."""
        target = arguments.keywords.get("target") or arguments.get(0, "fn")
        given = arguments.get(1, "args") if kind == "spawn" else arguments.keywords.get("args")
        if not isinstance(target, Bound | Function) or not isinstance(given, Sequence):
            return None
        # spawn() puts the number of the process before the arguments.
        first = (NOTHING,) if kind == "spawn" else ()
        self.call(target, Arguments((*first, *given.items)), node)
        return NOTHING

    def inspect(self, name: str, arguments: Arguments) -> Value:
        """Call a builtin that looks into names, objects or files."""
        first = arguments.positional[0] if arguments.positional else NOTHING
        if name == "open":
            return self.opened(first)
        if name == "vars":
            return self.namespace(first.unit) if isinstance(first, Space) else self.table(first)
        if name in ("globals", "locals"):
            return self.namespace(self.here)
        second = literal(arguments.positional[1]) if len(arguments.positional) > 1 else None
        if name == "hasattr":
            known = entries(first) if isinstance(first, Settings) else None
            return NOTHING if known is None else Constant(second in known)
        text = literal(first)
        return self._evaluated(text) if isinstance(text, str) else NOTHING

    def _evaluated(self, text: str) -> Value:
        """Return what `eval` gives for a literal or a dotted name."""
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            if not (names := chain(tree)):
                return lift(ast.literal_eval(tree)) or NOTHING
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            return NOTHING
        value = self.lookup(names[0])
        for name in names[1:]:
            value = self.attribute(value, name, tree)
        return value

    def call_method(self, base: Value, name: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call a method of a value."""
        parser = base if isinstance(base, Parser) else self._own_parser(base, name)
        if parser is not None:
            return self._parser_method(parser, name, arguments, node)
        return super().call_method(base, name, arguments, node)

    def _own_parser(self, made: Value, name: str) -> Parser | None:
        """Return the parser that an object of a derived class is."""
        info = made.info if isinstance(made, Made) else None
        if info is None or info.module or info.method(name) is not None:
            return None
        if not any(dotted.rpartition(".")[2] in _PARSERS for dotted in info.ancestors):
            return None
        assert isinstance(made, Made)
        return self.parsers.setdefault(made.number, Parser())

    def _parser_method(
        self, parser: Parser, name: str, arguments: Arguments, node: ast.expr
    ) -> Value:
        if name in _ADDS:
            found = commandline.declared(
                arguments, lambda kind, text: self.call(kind, Arguments((text,)), node)
            )
            if found is not None:
                parser.options.setdefault(*found)
        elif name == "set_defaults":
            parser.options.update(arguments.keywords)
        elif name == "add_arguments":
            schema, dest = arguments.get(0, "dataclass"), literal(arguments.get(1, "dest"))
            if isinstance(schema, ClassRef) and isinstance(dest, str):
                parser.options[dest] = self.call(schema, Arguments(), node)
        elif name in _GROUPS:
            return parser
        elif name == "get_default":
            return parser.options.get(str(literal(arguments.get(0, "dest"))), NOTHING)
        elif parser.schemas and name.startswith("parse"):
            return Sequence(tuple(self.call(one, Arguments(), node) for one in parser.schemas))
        elif name == "parse_known_args" or (parser.pair and name in _PARSES):
            return Sequence((Settings(dict(parser.options)), Sequence((), "list")))
        elif name in _PARSES:
            return Settings(dict(parser.options))
        return NOTHING

    def _field_default(self, dotted: str, arguments: Arguments, node: ast.expr) -> Value:
        factory = arguments.keywords.get("default_factory") or arguments.keywords.get("factory")
        if factory is not None:
            return self.call(factory, Arguments(), node)
        default = arguments.keywords.get("default")
        if default is None and (dotted in _DEFAULT_FIRST or dotted == "attr.ib"):
            default = arguments.positional[0] if arguments.positional else None
        missing = default is None or (isinstance(default, Constant) and default.value is ...)
        return NOTHING if missing or default is None else default

    def _merged(self, arguments: Arguments) -> Value:
        merged = Settings()
        for value in arguments.positional:
            merge(merged, dict(held(self.table(value)).values))
        return merged

    def _instantiate(
        self, first: Value | None, arguments: Arguments, node: ast.expr
    ) -> Value | None:
        known = entries(first)
        target = literal(known.get("_target_")) if known is not None else None
        if known is None or not isinstance(target, str):
            return None
        given = {key: value for key, value in known.items() if not key.startswith("_")}
        named = {**given, **arguments.keywords}
        return self.call(self.resolve(self.here, target), Arguments((), named), node)

    def _missing(self, arg: ast.arg, default: ast.expr | None, arguments: Arguments) -> Value:
        node = self.frame.node
        if default is None and isinstance(node, FunctionDef):
            found = self._declared(node, arg.arg)
            if found is not None:
                return found
        value = super()._missing(arg, default, arguments)
        if value is NOTHING and default is None:
            # Most functions that take `args` take what some `args = parse_args()` gives.
            return self.named.get(arg.arg, value)
        return value

    def _declared(self, node: FunctionDef, parameter: str) -> Value | None:
        """Return the option that a decorator declares for a parameter."""
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call):
                continue
            dotted = self.names.resolve(decorator.func) or ""
            if dotted == "hydra.main":
                first = node.args.args[:1]
                if first and first[0].arg == parameter:
                    return self.composed(self.arguments_of(decorator))
            elif dotted in ("click.argument", "click.option"):
                found = commandline.declared(self.arguments_of(decorator), lambda *_: None)
                if found is not None and found[0] == parameter:
                    return found[1]
        return None


def _parser(kind: str, arguments: Arguments) -> Parser:
    first = arguments.positional[0] if arguments.positional else None
    parser = Parser(pair=kind == "OptionParser")
    if kind == "HfArgumentParser" and first is not None:
        parser.schemas = first.items if isinstance(first, Sequence) else (first,)
    parents = arguments.keywords.get("parents")
    for parent in parents.items if isinstance(parents, Sequence) else ():
        if isinstance(parent, Parser):
            parser.options.update(parent.options)
    return parser
