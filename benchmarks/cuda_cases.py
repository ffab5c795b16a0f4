"""Rows on a device for `cuda_clusters.py`, and what is right for them, by readable functions."""

import argparse
import re

import torch

__all__ = ["canonical", "first_least", "in_pieces", "inertia_of", "rows_for", "sizes_of"]


def sizes_of(text):
    """Three numbers like 1Mx128x1024."""
    found = re.fullmatch(r"(\d+)([kM]?)x(\d+)([kM]?)x(\d+)([kM]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 1Mx128x1024")
    parts, times = found.groups(), {"": 1, "k": 1000, "M": 10**6}
    return tuple(int(number) * times[unit] for number, unit in zip(*[iter(parts)] * 2, strict=True))


def rows_for(n, d, k, device, seed=1):
    """Rows around as many points as clusters, with what overlaps; float32 on the device."""
    made = torch.Generator(device).manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=made, device=device)

    # Neighbouring points lie six deviations apart: some rows have a long way between two of them.
    centers = 6 / (2 * d) ** 0.5 * normal(k, d)
    X = normal(n, d)
    for at in range(0, n, 2**20):
        part = X[at : at + 2**20]
        own = torch.randint(k, (len(part),), generator=made, device=device)
        part += centers.index_select(0, own)
    rows = torch.randperm(n, generator=made, device=device)[:k]
    return X, X[rows].clone()


def canonical(rows, others):
    """Squared distances (m, k) float64, in the order of additions of docs/exact-labels.md."""
    sums = torch.zeros((len(rows), len(others), 8), dtype=torch.float64, device=rows.device)
    for at in range(0, rows.shape[1], 8):
        gap = rows[:, None, at : at + 8].double() - others[None, :, at : at + 8].double()
        sums[:, :, : gap.shape[2]] += gap * gap
    pairs = sums[:, :, :4] + sums[:, :, 4:]
    pairs = pairs[:, :, :2] + pairs[:, :, 2:]
    return pairs[:, :, 0] + pairs[:, :, 1]


def first_least(squares):
    """The lowest number at the least distance, for each row."""
    least = squares.amin(1, keepdim=True)
    numbers = torch.arange(squares.shape[1], device=squares.device)
    return torch.where(squares == least, numbers, squares.shape[1]).amin(1)


def in_pieces(function, rows, others):
    """The function of `canonical` of some rows at a time."""
    step = max(1, 2**25 // (8 * len(others)))
    return torch.cat(
        [function(canonical(rows[at : at + step], others)) for at in range(0, len(rows), step)]
    )


def inertia_of(X, centers):
    """The sum of squared distances to the closest centre, up to rounding."""
    half = (centers * centers).sum(1) / 2
    total = 0.0
    for at in range(0, len(X), 65536):
        part = X[at : at + 65536]
        closest = torch.addmm(half, part, centers.t(), alpha=-1).argmin(1)
        gap = part.double() - centers.index_select(0, closest).double()
        total += float((gap * gap).sum())
    return total
