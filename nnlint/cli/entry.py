"""The process's entry: which command runs, and what becomes of errors."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

import click

from nnlint.cli import commands as commands_package
from nnlint.cli.console import escape, write_stderr, write_stdout
from nnlint.errors import InternalError, NnlintError

DEFAULT_COMMAND = "check"
INTERRUPTED = 130
REPORT_TO = "please report it with `nnlint version` and the file that caused it"


def command_names() -> list[str]:
    """Return the names of all commands without importing them."""
    found = (info.name for info in pkgutil.iter_modules(commands_package.__path__))
    return sorted(name.replace("_", "-") for name in found)


def load_command(name: str) -> click.Command:
    """Import the module of one command and return its `command`."""
    module: ModuleType = importlib.import_module(
        f"{commands_package.__name__}.{name.replace('-', '_')}"
    )
    command: click.Command = module.command
    return command


def show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    """Print the versions and end the program when `--version` is given."""
    if value:
        from nnlint.cli.commands.version import versions

        write_stdout(versions() + "\n")
        context.exit()


class CommandGroup(click.Group):
    """The commands of the package's `commands` folder, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the help: the default command first."""
        names = command_names()
        return sorted(names, key=lambda name: (name != DEFAULT_COMMAND, name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of that name."""
        return load_command(cmd_name) if cmd_name in command_names() else None


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`nnlint model.py` is short for `nnlint check model.py`.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Print the versions of nnlint, Python and torch.",
)
def group() -> None:
    """Find the neural-network bugs that never raise an error.

    nnlint reads the traced graph of PyTorch models and points at the lines of the source.
    """


def with_default(arguments: Sequence[str]) -> list[str]:
    """Put the default command before arguments that name none."""
    if not arguments:
        return ["--help"]
    if arguments[0] in {"-h", "--help", "--version"} or arguments[0] in command_names():
        return list(arguments)
    return [DEFAULT_COMMAND, *arguments]


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are raised."""
    with group.make_context("nnlint", with_default(arguments)) as context:
        result = group.invoke(context)
    return result if isinstance(result, int) else 0


def complain(message: str, hint: str = "") -> int:
    """Print an error and what to do about it; return the exit code for it."""
    lines = [f"nnlint: error: {message}", *([f"hint: {hint}"] if hint else [])]
    write_stderr("\n".join(escape(line, keep="\n") for line in lines) + "\n")
    return NnlintError.exit_code


def _options(context: click.Context | None) -> list[click.Parameter]:
    return context.command.get_params(context) if context else []


def _help_hint(context: click.Context | None) -> str:
    return f"`{context.command_path if context else 'nnlint'} --help` lists what there is"


def _internal_error(error: BaseException) -> int:
    text = f"internal error: {type(error).__name__}: {error}"
    if os.environ.get("NNLINT_DEBUG"):
        write_stderr("".join(traceback.format_exception(error)))
        return complain(text, REPORT_TO)
    return complain(text, f"{REPORT_TO}; NNLINT_DEBUG=1 shows the traceback")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0: nothing at or above `--fail-on`; 1: findings; 2: usage, configuration or internal error.
    """
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.NoSuchOption as error:
        from nnlint.cli.wording import did_you_mean

        names = [name for option in _options(error.ctx) for name in option.opts]
        hint = did_you_mean(error.option_name, names) or _help_hint(error.ctx)
        return complain(f"unknown option {error.option_name}", hint)
    except click.UsageError as error:
        message = error.format_message().rstrip(".")
        return complain(message[:1].lower() + message[1:], _help_hint(error.ctx))
    except click.ClickException as error:
        return complain(error.format_message())
    except InternalError as error:
        return _internal_error(error)
    except NnlintError as error:
        return complain(str(error), error.hint) and error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback for users
        return _internal_error(error)
