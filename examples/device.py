"""Fit states of a machine from four sensors, and write them as a C header for a device.

    python examples/device.py                     # writes states.h
    cc -std=c99 -O2 -I. examples/device.c -o device
    printf '0.1 0.2 21 1.0\\n9 9 90 9\\n' | ./device

Each line that goes in is a row of four numbers. Each line that comes out has the state, the
distance to its centre, and a warning if the row is farther away than any row of the fit.
"""

import argparse
import pathlib

import numpy as np

from tilewise import KMeans
from tilewise.export import to_c

# Vibration in two directions in mm/s, temperature in °C and current in A, of three states.
STATES = [(0.1, 0.1, 20.0, 0.1), (1.5, 1.2, 45.0, 4.0), (3.0, 2.5, 70.0, 7.5)]
SPREAD = (0.1, 0.1, 2.0, 0.2)


def measured(rows=3000):
    """What the sensors said, (rows, 4), float32: as the device has it."""
    rng = np.random.default_rng(0)
    states = np.array(STATES)[rng.integers(len(STATES), size=rows)]
    return (states + SPREAD * rng.standard_normal((rows, 4))).astype(np.float32)


def main():
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("states.h"))
    options = parser.parse_args()
    X = measured()
    model = KMeans(len(STATES), random_state=0).fit(X)
    farthest = model.transform(X).min(axis=1).max()
    text = to_c(model, "states")
    options.output.write_text(f"#define FARTHEST {farthest:.9g}f\n{text}", encoding="ascii")
    print(f"{options.output}: {model.n_clusters} states, rows up to {farthest:.3g} from a centre")


if __name__ == "__main__":
    main()
