"""db upgrade, db check, db copy."""

from __future__ import annotations

from typing import Annotated

import typer

from qmrunner.cli.common import AsJson, print_json, say

_db = typer.Typer(help="The store's schema.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(_db, name="db")


@_db.command()
def upgrade() -> None:
    """Bring the schema to this program's version. Stop the daemons and make a backup first."""
    from qmrunner import app
    from qmrunner.store import schema

    opened = app.build()
    opened.make_home()
    before = schema.revision(opened.store)
    if schema.status(opened.store) == "newer":
        schema.require_current(opened.store, create=False)
    schema.upgrade(opened.store)
    say(f"store {opened.store.url}: {before or 'empty'} -> {schema.revision(opened.store)}")


@_db.command()
def check(as_json: AsJson = False) -> None:
    """Whether the store can be used by this program: exit status 0, or 4."""
    from qmrunner import app
    from qmrunner.store import schema

    store = app.build().existing_store()
    state, found = schema.status(store), schema.revision(store)
    if as_json:
        print_json({"state": state, "revision": found, "head": schema.HEAD, "store": store.url})
    else:
        say(f"store {store.url}: {state} (revision {found or 'none'}, this program needs {schema.HEAD})")
    raise typer.Exit(0 if state == "current" else 4)


@_db.command()
def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="An empty database: postgresql://user@host/name")],
    as_json: AsJson = False,
) -> None:
    """Copy this store, its daemons stopped, into an empty PostgreSQL database; the old one stays as it is."""
    from dataclasses import asdict

    from qmrunner import app, masking
    from qmrunner.store import copy_store
    from qmrunner.store.session import Store

    opened = app.build()
    masking.know([to], also=True)
    target = Store(to)
    copied = copy_store.copy(opened.existing_store(), target, lease_s=opened.settings.lease_seconds)
    if as_json:
        print_json({"store": target.url, "tables": [asdict(one) for one in copied]})
        return
    for one in copied:
        say(f"{one.table:14} {one.rows:9} rows  {one.sha256[:16]}")
    say(f"all of it is in {target.url}; set QMRUNNER_STORE_URL to it wherever this store was used")
