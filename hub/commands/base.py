"""What all commands share: the group that they belong to, and how it ends when something is refused."""

import json
from collections.abc import Iterable
from typing import Any

import click

from hub.errors import Code, Refused
from hub.opening import end


class Commands(click.Group):
    """Arguments are text; what is refused becomes one sentence on stderr and exit code 1."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for arg in args:
            try:
                arg.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"the argument {arg[:64]!r} is not UTF-8") from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as refused:
            end(refused.message, 1)


@click.group(cls=Commands)
def bellhub() -> None:
    """Bellhub: a self-hosted, real-time notification hub."""


def table(rows: Iterable[tuple[object, ...]]) -> str:
    """Columns side by side, the last one as long as it likes."""
    texts = [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)][:-1]
    return "\n".join(
        "  ".join((*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1])) for row in texts
    )


def json_option(text: str) -> Any:
    """What `--data` holds. Raises `Refused`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(Code.INVALID_REQUEST, f"--data: {len(text)} characters that are not JSON") from None
