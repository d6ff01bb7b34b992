# %% [markdown]
# # Molecules of a CSV against experiment
#
# `measured.csv` has 20 small molecules of DELTA50 (Molecules 2023, 28(6), 2449, CC BY 4.0) with assigned shifts. Atoms
# are numbered in the order of the SMILES, hydrogens after them. Three molecules take minutes, all of them an hour.

# %%
from pathlib import Path

import pandas as pd

from qmrunner.client import Client

MOLECULES = 3
folder = Path(__file__).parent if "__file__" in globals() else Path()
measured = pd.read_csv(folder / "measured.csv")
molecules = measured[["name", "smiles"]].drop_duplicates().head(MOLECULES)

# %% [markdown]
# A group makes the cell safe to run twice: the same molecules are the same jobs.

# %%
client = Client()
jobs = client.submit_many(molecules, level="quick", group="measured")
jobs.wait(progress=True)
for job in jobs:
    if job.state != "succeeded":
        print(job, job.why()["summary"])

# %%
both = jobs.shifts().merge(measured, on=["name", "nucleus", "atom"])
both["error_ppm"] = both.shift_ppm - both.measured_ppm
print("mean absolute error, ppm")
print(both.error_ppm.abs().groupby(both.nucleus).agg(["count", "mean", "max"]).round(2))

# %% [markdown]
# The worst molecule, by its largest error of a carbon.

# %%
carbon = both[both.nucleus == "13C"]
worst = carbon.loc[carbon.error_ppm.abs().idxmax()]
print(worst[["name", "smiles", "atom", "shift_ppm", "measured_ppm", "error_ppm"]])

# %%
rows = carbon[carbon.name == worst["name"]]
axes = rows.plot.scatter("measured_ppm", "shift_ppm", title=worst["name"])
axes.axline((0, 0), slope=1, color="gray")
axes.figure.savefig("worst.png")

# %%
client.close()
