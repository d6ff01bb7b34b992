"""Boltzmann weights, and averages over conformers and over equivalent atoms. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmrunner.model.units import BOLTZMANN_HARTREE_PER_K


def boltzmann_weights(
    energies_hartree: ArrayLike, temperature_k: float, degeneracies: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Weights of conformers at `temperature_k`, shape (n,), adding up to 1.

    `degeneracies`, shape (n,), is how many conformers each one represents; default 1. Raises ValueError when
    there is no energy, one is not finite, or the temperature is not positive.
    """
    energies = np.asarray(energies_hartree, dtype=float)
    if energies.ndim != 1 or energies.size == 0:
        raise ValueError("expected at least one energy")
    if not np.all(np.isfinite(energies)):
        raise ValueError("an energy is not finite")
    if not (np.isfinite(temperature_k) and temperature_k > 0):
        raise ValueError(f"expected a temperature above 0 K, got {temperature_k}")
    # Relative to the lowest, so that the exponential can neither overflow nor make every weight zero.
    factors = np.exp(-(energies - energies.min()) / (BOLTZMANN_HARTREE_PER_K * temperature_k))
    if degeneracies is not None:
        factors = factors * np.asarray(degeneracies, dtype=float)
    return np.asarray(factors / factors.sum(), dtype=np.float64)


def over_conformers(values: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Weighted mean of `values`, shape (conformers, atoms), over the conformers: shape (atoms,)."""
    table, share = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    if table.ndim != 2 or table.shape[0] != share.shape[0]:
        raise ValueError(f"{share.shape[0]} weights do not fit a table of shape {table.shape}")
    return np.asarray(share @ table, dtype=np.float64)


def over_groups(values: ArrayLike, groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """`values`, shape (atoms,), with the value of each atom replaced by the mean of its group (atom numbers from 1)."""
    means = np.array(values, dtype=float)
    for group in groups:
        chosen = np.asarray(group) - 1
        means[chosen] = means[chosen].mean()
    return means
