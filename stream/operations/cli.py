"""`stream`: what an operator does from the shell. Each group of commands is a module of this room.

Exit codes: 0 done, 1 stopped, 2 wrong use, 3 no connection or no right, 4 somebody else holds the lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from stream import __version__
from stream.operations import cache, circuits, jobs
from stream.operations.dead_letters.commands import app as dead_letters
from stream.operations.explain import explain
from stream.operations.message import message

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 stopped by itself or by a signal; 2 wrong use; 3 no connection or no right; "
    "4 somebody else holds the lock."
)

# Tracebacks with local variables could show a secret.
app = typer.Typer(name="stream", epilog=EXIT_CODES, pretty_exceptions_enable=False)
app.add_typer(cache.app, name="cache")
app.add_typer(circuits.app, name="circuits")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(jobs.app, name="jobs")
app.command(epilog="Example: stream explain 131056")(explain)
app.command(epilog="Example: stream message order-4711-confirmation --tenant acme")(message)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"whatsapp-stream {__version__}")
        raise typer.Exit


@app.callback()
def stream(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Operate whatsapp-stream."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command.

    Raises:
        SystemExit: With its exit code, always.
    """
    app(arguments, prog_name="stream")


if __name__ == "__main__":
    main()
