"""Conversion factors and constants of physics, each written once (CODATA 2018)."""

KCAL_PER_HARTREE = 627.5094740631
HARTREE_PER_KCAL = 1 / KCAL_PER_HARTREE
# k_B / E_h.
BOLTZMANN_HARTREE_PER_K = 3.166811563e-6
