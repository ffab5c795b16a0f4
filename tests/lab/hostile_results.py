"""Results as a bad machine could give them: from a real one, with other samples or with less."""

import copy
import random

from tilewise.lab._run import summary

# Seconds and bytes that an overloaded machine or a coarse clock can give; rates likewise.
_ODD = (0.0, 0.0, 1e-12, 1e-9, 1e-4, 1.0, 3e5)


def spoiled(result, seed):
    """A result of the same form that is as odd as a machine could make it.

    Parameters
    ----------
    result : dict
        Of any experiment; it stays as it is.
    seed : int
        Of the kinds of damage and their places.

    Returns
    -------
    dict
        Samples are zeros, tiny, equal, far apart or single ones; where they are differences
        (those of peers), some are below zero. Some measurements may be missing, as after
        Ctrl-C, down to the first or to none.
    """
    rng = random.Random(seed)
    result = copy.deepcopy(result)
    kinds = rng.sample(("zero", "tiny", "one", "equal", "spread", "odd", "as it was"), 3)
    for entry in result["measurements"]:
        kind = rng.choice(kinds)
        entry["samples"] = _samples(entry["samples"], kind, rng)
        if result["experiment"] == "peers" and rng.random() < 0.3:
            entry["samples"] = [-sample for sample in entry["samples"]]
        entry |= summary(entry["samples"])
    cut = seed % 4
    if cut == 1:  # Ctrl-C in the first phase, or right before it
        result["measurements"] = result["measurements"][: rng.choice((0, 1, 2, 3))]
        result["simulated"] = []
        result["interrupted"] = True
    elif cut == 2:  # whatever else a file may lack
        keep = rng.random()
        result["measurements"] = [e for e in result["measurements"] if rng.random() < keep]
    elif cut == 3:
        result["simulated"] = result["simulated"][: len(result["simulated"]) // 3]
        result["predicted"] = []
    return result


def _samples(samples, kind, rng):
    match kind:
        case "zero":
            return [0.0] * len(samples)
        case "tiny":
            return [1e-12 * rng.random() for _ in samples]
        case "one":
            return samples[:1]
        case "equal":
            return [samples[0]] * 5
        case "spread":
            return [samples[0] * 10.0 ** rng.uniform(-6, 6) for _ in range(7)]
        case "odd":
            return [rng.choice(_ODD) for _ in range(rng.choice((1, 2, 5)))]
    return samples
