"""What all commands parse alike: paths, numbers of a range, and groups of commands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
"""A file or folder; whether it exists is for the command to say."""

EXIT_INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


class Group(click.Group):
    """Commands, listed in the order they were added; Ctrl-C ends them without a word."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the names, as click would but for their order."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is asked for; exit code 130 where it is interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


class FloatRange(click.FloatRange):
    """A number of a range; unlike click's it takes no ``nan``, which is in no range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number, or fail as click does."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return number
