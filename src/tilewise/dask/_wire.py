"""Sums of clusters on their way from a worker: small, and the same whoever made them."""

import numpy as np

from tilewise import engine

__all__ = ["merged", "open_sums", "pack", "taken"]

# Bits of a limb, see kernels/c/tw_sums.h.
_LIMB = 50
_MASK = 2**_LIMB - 1
# Two limbs and what is above them share two words, as long as that has no more bits than this.
_ABOVE = 2 * 64 - 2 * _LIMB - 1
_LOW = 64 - _LIMB


def open_sums(job, plan):
    """Empty sums that take in those of the parts of a job."""
    return engine.open_sums(
        job["n_clusters"], plan, job["stats"], job["dtype"], sizes=job["weight_sizes"]
    )


def pack(sums, n_features: int) -> dict:
    """What is in sums, as arrays of the narrowest types that hold it.

    Parameters
    ----------
    sums : Sums
    n_features : int
        Columns that fill up eight are left out.

    Returns
    -------
    dict
        For `taken`.
    """
    table, spill, members, weights = sums.state()
    limbs, k = sums.grid.limbs, len(members)
    spill = _narrow(spill[:, :n_features])
    packed = {"members": _narrow(members), "weights": _narrow(weights)}
    count = int(limbs[0])
    if (limbs != count).any():
        return packed | {"table": table, "spill": spill}
    by_limb = table.reshape(k, -1, count, 8).transpose(2, 0, 1, 3).reshape(count, k, -1)
    by_limb = by_limb[:, :, :n_features]
    if count == 2 and -(2**_ABOVE) <= spill.min(initial=0) <= spill.max(initial=0) < 2**_ABOVE:
        first, second = by_limb
        high = (spill.astype(np.int64) << (_LIMB - _LOW)) | (first >> _LOW)
        return packed | {"high": high, "low": ((first & (2**_LOW - 1)) << _LIMB) | second}
    return packed | {"limbs": np.ascontiguousarray(by_limb), "spill": spill}


def taken(sums, packed: dict) -> None:
    """Add what was packed from other sums on the same grid."""
    limbs = sums.grid.limbs
    k, count, columns = len(packed["members"]), int(limbs[0]), 8 * len(limbs)
    if "table" in packed:
        table, spill = packed["table"], packed["spill"]
    else:
        if "high" in packed:
            high, low = packed["high"], packed["low"]
            spill = high >> (_LIMB - _LOW)
            first = ((high << _LOW) | ((low >> _LIMB) & (2**_LOW - 1))) & _MASK
            by_limb = np.stack([first, low & _MASK])
        else:
            by_limb, spill = packed["limbs"], packed["spill"]
        by_limb = _filled(by_limb, columns).reshape(count, k, -1, 8)
        table = np.ascontiguousarray(by_limb.transpose(1, 2, 0, 3)).reshape(k, -1)
    sums.add(
        table,
        _filled(spill, columns),
        packed["members"].astype(np.int64),
        packed["weights"].astype(np.int64),
    )


def merged(job, plan, answers) -> dict:
    """The packed sums of several parts together."""
    sums = open_sums(job, plan)
    for packed in answers:
        taken(sums, packed)
    return pack(sums, job["n_features"])


def _filled(values, columns):
    """Values in int64, with columns of zeros behind them."""
    out = np.zeros((*values.shape[:-1], columns), dtype=np.int64)
    out[..., : values.shape[-1]] = values
    return out


def _narrow(values):
    """The same whole numbers in the narrowest type of two, four or eight bytes."""
    low, high = values.min(initial=0), values.max(initial=0)
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return np.ascontiguousarray(values)
