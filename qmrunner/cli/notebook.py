"""Prints the quantities of a run: the tables of `reports.quantity_tables`."""

from __future__ import annotations

from rich.table import Table

from qmrunner.cli.common import add_row
from qmrunner.reports.quantity_tables import Grid


def drawn(grid: Grid) -> Table:
    """A table of a result for the terminal."""
    if grid.headings:
        table = Table(title=f"\n{grid.title}", title_justify="left", box=None, pad_edge=False)
        for at, heading in enumerate(grid.headings):
            table.add_column(heading, justify="left" if at == 0 and not heading else "right")
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(justify="left")
        table.add_column(justify="right")
        table.add_column(justify="left")
    for row in grid.rows:
        add_row(table, *row)
    if grid.more:
        add_row(table, f"… {grid.more} more: --json")
    return table
