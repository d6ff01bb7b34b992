"""token add, token list, token revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from qmrunner.cli.common import AsJson, build_app, open_app, print_json, say

_tokens = typer.Typer(help="Manage the tokens of the HTTP API.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token; it owns the jobs submitted with it.")]


def register(cli: typer.Typer) -> None:
    cli.add_typer(_tokens, name="token")


@_tokens.command()
def add(
    name: Name,
    scope: Annotated[
        str,
        typer.Option("--scope", help="read: view; write: also submit and control jobs; admin: also pause and drain."),
    ],
    as_json: AsJson = False,
) -> None:
    """Create a token. Its secret is printed once and stored nowhere."""
    from qmrunner.store import tokens

    store = build_app().open_store(create=True)
    with store.write() as connection:
        secret = tokens.add(connection, store.now(), name, scope)
    if as_json:
        print_json({"name": name, "scope": scope, "secret": secret})
    else:
        say(secret)


@_tokens.command("list")
def listing(as_json: AsJson = False) -> None:
    """List the names, scopes and ages of all tokens."""
    from rich.table import Table

    from qmrunner.cli.common import console, duration
    from qmrunner.reports.status import iso
    from qmrunner.store import tokens
    from qmrunner.store.rows import moment

    store = open_app().store
    with store.read() as connection:
        rows, now = tokens.listing(connection), store.now()
    if as_json:
        print_json([{"name": row.name, "scope": row.scope, "created_at": iso(moment(row.created_at))} for row in rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "scope", "age"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.name, row.scope, duration(max(0.0, now - row.created_at)))
    console().print(
        table if rows else "no tokens yet: create one with `qmrunner token add NAME --scope read|write|admin`"
    )


@_tokens.command()
def revoke(name: Name) -> None:
    """Revoke a token immediately and close the HTTP connections that follow jobs with it."""
    from qmrunner.store import tokens

    store = open_app().store
    with store.write() as connection:
        tokens.revoke(connection, store.now(), name)
    say(f"{name} is revoked")
