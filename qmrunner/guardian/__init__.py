"""Everything that runs beside an engine. Standard library only: it starts before all else and outlives all else."""
