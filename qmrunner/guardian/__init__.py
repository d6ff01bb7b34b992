"""Everything that runs beside an engine. Standard library only: it starts first and outlives every other process."""
