"""
Chunk sizes, from a kept result
===============================

How many rows should be packed and scored at a time? Too few, and each call and each panel of
centres serves only those few; too many, and the chunk outgrows the cache that the plan meant for
it. ``tilewise bench chunks --json chunks.json`` measures it on one thread; this draws such a file.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from tilewise.lab.experiments import perform
from tilewise.lab.quiet import noise
from tilewise.lab.schema import read

# In a checkout the committed result, so that the picture is not of the machine that drew it; else
# a measurement of a second, of this one. For your own file: result = read("chunks.json")
kept = Path("benchmarks", "results", "lab", "chunks.json")
found = [folder / kept for folder in (Path.cwd(), *Path.cwd().parents) if (folder / kept).exists()]
result = read(found[0]) if found else perform("chunks", quick=True)

facts = {name: fact["value"] for name, fact in result["machine"]["facts"].items()}
print(f"{facts['cpu_model']}, {facts['n_cpus']} CPUs, {facts['isa']}; {result['started'][:10]}")
print("; ".join(noise(result)) or "nothing says that the machine was busy")

# %%
# Doubling from one tile of rows up to all of them. Points are medians, bands quartiles; stars mark
# what the plan chooses by itself.

asked = result["parameters"]
fig, axes = plt.subplots(2, 1, figsize=(6.2, 6.4), sharex=True, layout="constrained")
for ax, engine, color in zip(axes, ("blas", "fused"), ("#D55E00", "#0072B2"), strict=True):
    own = sorted(
        (e for e in result["measurements"] if e["series"] == engine),
        key=lambda e: e["case"]["chunk_rows"],
    )
    rows = [e["case"]["chunk_rows"] for e in own]
    median, low, high = ([e[end] / asked["rows"] * 1e9 for e in own] for end in
                         ("median", "low", "high"))  # fmt: skip
    ax.plot(rows, median, "o-", color=color)
    ax.fill_between(rows, low, high, color=color, alpha=0.18, linewidth=0)
    auto = result["facts"]["engines"][engine]["auto"]
    ax.plot(auto, median[rows.index(auto)], "*", color=color, markersize=18, mec="white")
    ax.set_xscale("log", base=2)
    ax.set_xticks(rows[::3], [f"{size:,}" for size in rows[::3]])
    ax.set(title=f"The {engine} engine", ylabel="ns per row")
    ax.set_ylim(0)
axes[1].set_xlabel("rows per chunk")
fig.suptitle(f"{asked['rows']:,} × {asked['features']}, {asked['clusters']} centres")

# %%
# The engine ``blas`` pays for small chunks: every one of them is a call, and small products are
# slow. The fused engine makes no call per chunk and keeps no buffer of scores: its trough is wide.
# :doc:`The lesson on chunk sizes </course/2-chunk-size>` has the curve with both of its arms.
