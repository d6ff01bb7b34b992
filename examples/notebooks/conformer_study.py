# %% [markdown]
# # The conformers of butane
#
# A search with RDKit, ranked by xTB: energies, weights and the dihedral angle of each conformer.

# %%
from rdkit.Chem import rdMolTransforms

from qmrunner.client import Client

client = Client()
job = client.submit_search("CCCC", conformers="rdkit", name="butane").wait(progress=True)
result = job.result
kept = result.conformers[result.conformers.state == "kept"]
print(kept[["id", "relative_kcal_mol", "weight", "degeneracy"]])

# %% [markdown]
# `atoms_of` is an ASE object; carbons are atoms 0 to 3 there, because ASE counts from 0.

# %%
for row in kept.itertuples():
    angle = result.atoms_of(row.id).get_dihedral(0, 1, 2, 3)
    print(row.id, f"{angle:.0f}°", f"{row.weight:.2f}")

# %% [markdown]
# `mol` has the same structures as conformers of one RDKit Mol.

# %%
for conformer in result.mol.GetConformers():
    print(conformer.GetProp("id"), f"{rdMolTransforms.GetDihedralDeg(conformer, 0, 1, 2, 3):.0f}°")
client.close()
