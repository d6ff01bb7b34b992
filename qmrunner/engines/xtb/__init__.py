"""xTB: semiempirical energies, geometries, frequencies and dynamics."""
