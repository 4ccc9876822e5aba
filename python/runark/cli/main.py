"""The command `runark`: its verbs, its version, and what becomes of exceptions.

A verb's module is imported when the verb is used, so that `runark scan` does not pay for restoring.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from runark import __version__, env_vars
from runark.cli import exit_codes
from runark.engine import ENGINES, choose
from runark.errors import RunarkError

__all__ = ["main"]

_VERBS = {
    "scan": ("runark.cli.scan", "scan", "Find sessions: sizes, ages, status, owner."),
    "archive": ("runark.cli.archive", "archive", "Print the plan, or pack, prove and remove sessions."),
    "restore": ("runark.cli.restore", "restore", "Print what would be restored, or restore it."),
    "verify": ("runark.cli.verify", "verify", "Read archives through and say which are sound."),
    "list": ("runark.cli.list", "list_", "Tell what archives hold."),
    "nightly": ("runark.cli.nightly", "nightly", "Archive every root by a policy, within a budget."),
    "apply": ("runark.cli.apply", "apply", "Carry out a plan written by archive --plan-out."),
    "undo": ("runark.cli.undo", "undo", "Bring archived sessions back, by name or by run."),
    "config": ("runark.cli.config", "config", "Check runark.yaml, or show what it comes to."),
    "doctor": ("runark.cli.doctor", "doctor", "Explain what killed runs have left, or clear it up."),
    "reconcile": ("runark.cli.reconcile", "reconcile", "Find sessions whose process was killed, or move them."),
    "schedule": ("runark.cli.schedule", "schedule", "Print a unit, crontab line or batch script for every night."),
    "completion": ("runark.cli.completion", "completion", "Print the completion script for a shell."),
}


class _Verbs(click.Group):
    """The group of verbs; `main` maps every way of ending to an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module, name, _ = _VERBS[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, about) for name, (_, _, about) in _VERBS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        complete_var = complete_var or env_vars.COMPLETE
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        # Whatever the locale cannot show is escaped rather than ending the command half-way.
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(args, prog_name, complete_var, False, **extra)
            sys.stdout.flush()
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except RunarkError as error:
            print(f"runark: error: {error}", file=sys.stderr)
            code = exit_codes.of_error(error)
        except (click.Abort, KeyboardInterrupt):
            print("runark: interrupted", file=sys.stderr)
            code = exit_codes.SIGNALLED + 2
        except BrokenPipeError:
            # Whoever read our output has had enough, as `head` does. Python would complain once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = exit_codes.FATAL
        except OSError as error:
            print(f"runark: error: {error}", file=sys.stderr)
            code = exit_codes.FATAL
        sys.exit(code if isinstance(code, int) else exit_codes.OK)


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done; 1 fatal; 2 usage; 3 done, but not with all; 4 a cap was hit; 10 no such root;"
    " 11 locked; 75 work left; 130, 143 interrupted.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    envvar=env_vars.ENGINE,
    show_envvar=True,
    help="The engine; `auto` (default): native if installed, else pure.",
)
@click.option("--version", is_flag=True, help="Print the version, the engine in use and why.")
@click.pass_context
def main(ctx: click.Context, engine: str | None, version: bool) -> None:
    """Find, archive, verify and restore session directories, in bulk, without ever risking a byte."""
    ctx.obj = {"engine": engine}
    if version:
        chosen = choose(engine or "auto")
        click.echo(f"runark {__version__}, engine {chosen.engine.name} ({chosen.reason})")
        ctx.exit(exit_codes.OK)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(exit_codes.USAGE)
