# %% [markdown]
# # A first prediction
#
# Methanol from SMILES to shifts. A worker must run: `qmrunner run`, in the same folder or with the same QMRUNNER_HOME.

# %%
from qmrunner.client import Client

client = Client()  # the home of the command line; a server: Client("https://qm.example.org", token="…")
job = client.submit_nmr("CO", level="quick", name="methanol")
job.wait(progress=True)

# %%
result = job.result
print(result.shifts[["nucleus", "atom", "shift_ppm", "uncertainty_ppm", "kind"]])

# %% [markdown]
# In a notebook, `result` at the end of a cell shows structure and spectra.

# %%
for atom in result.mol.GetAtoms():
    if atom.HasProp("shift_ppm"):
        print(atom.GetSymbol(), atom.GetIdx() + 1, atom.GetDoubleProp("shift_ppm"))
print(result.atoms)

# %%
client.close()
