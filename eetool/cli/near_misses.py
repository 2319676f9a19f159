"""Mistyped commands, options and choices: errors of click with the names that were probably meant."""

from collections.abc import Iterable
from typing import Any

import click


class NearMissError(click.UsageError):
    """Usage error whose hint begins with `meant`, such as `Did you mean train? `."""

    def __init__(self, message: str, ctx: click.Context | None, word: object, known: Iterable[str]) -> None:
        from eetool_runtime.near_names import did_you_mean

        super().__init__(message, ctx)
        self.meant = did_you_mean(word, known)


class NearChoice(click.Choice[str]):
    """Choice that suggests the nearest of its values."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise NearMissError(error.format_message(), ctx, value, map(str, self.choices)) from None


def suggest_choices(parameters: Iterable[click.Parameter]) -> None:
    """Let every parameter with choices suggest the nearest of them."""
    for parameter in parameters:
        kind = parameter.type
        if isinstance(kind, click.Choice) and not isinstance(kind, NearChoice):
            parameter.type = NearChoice(kind.choices, kind.case_sensitive)


class SuggestingGroup(click.Group):
    """Group that suggests the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise NearMissError(f"No such command {name!r}.", ctx, name, self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def usage_hint(error: click.UsageError) -> str | None:
    """Return the names that were probably meant and where help is."""
    from eetool_runtime.near_names import did_you_mean

    help_line = f"Try '{error.ctx.command_path} --help'." if error.ctx else ""
    meant = getattr(error, "meant", "")
    if isinstance(error, click.NoSuchOption) and error.ctx:
        known = [name for p in error.ctx.command.get_params(error.ctx) for name in (*p.opts, *p.secondary_opts)]
        meant = did_you_mean(error.option_name, [name for name in known if name.startswith("--")])
    elif error.ctx and "extra argument" in error.message and any(p.name == "output" for p in error.ctx.command.params):
        meant = "The output is given as -o PATH. "
    return (meant + help_line) or None


def usage_message(error: click.UsageError) -> str:
    """Return the message without the suggestions that `usage_hint` gives."""
    return error.message if isinstance(error, click.NoSuchOption) else error.format_message()
