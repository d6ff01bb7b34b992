"""Pilots: workers as Slurm jobs. What the login node does; on the node only `pilot.sbatch` knows Slurm."""
