"""`runark completion`: the script that makes a shell complete verbs, options and paths."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from runark import env_vars

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    bash: eval "$(runark completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc;
    fish: runark completion fish > ~/.config/fish/completions/runark.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click knows no completion for {shell}")
    group = ctx.find_root().command
    maker = found(group, {}, "runark", env_vars.COMPLETE)
    # source() of bash would first run bash to ask for its version; the script itself needs no asking.
    click.echo(maker.source_template % maker.source_vars())
