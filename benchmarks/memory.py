"""How much memory a fit takes beyond its data: one fit in a fresh process, peak against before.

Run as a script it is the fresh process; `extra_bytes` starts it.
"""

import argparse
import gc
import json
import pathlib
import subprocess
import sys

import data
import peers

STATUS = pathlib.Path("/proc/self/status")
CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")


def resident():
    """Return the bytes of memory that this process holds, and the most that it ever held."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return tuple(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def measure(name, n_samples, n_features, n_clusters, dtype):
    """Return the extra bytes of one default fit of five iterations at most."""
    (peer,), _ = peers.available([name])
    X = data.make("overlapping blobs", n_samples, n_features, n_clusters, dtype)
    data.forget()
    # Load code and start threads before anything is measured.
    peer.fit(X[: 4 * n_clusters], n_clusters)()
    model = peer.library.KMeans(n_clusters, random_state=0, max_iter=5)
    gc.collect()
    CLEAR_REFS.write_text("5")  # the peak starts again from here
    before, _ = resident()
    model.fit(X)
    _, peak = resident()
    return max(0, peak - before)


def extra_bytes(name, n_samples, n_features, n_clusters, dtype):
    """Measure in a fresh process; raises RuntimeError with what it said if it failed."""
    told = subprocess.run(
        [sys.executable, __file__, name]
        + [str(size) for size in (n_samples, n_features, n_clusters)]
        + [dtype],
        capture_output=True,
        text=True,
    )
    if told.returncode:
        raise RuntimeError((told.stderr.strip() or "no message").splitlines()[-1])
    return json.loads(told.stdout.splitlines()[-1])


def main():
    """Measure once and print the bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    for size in ("n_samples", "n_features", "n_clusters"):
        parser.add_argument(size, type=int)
    parser.add_argument("dtype")
    options = parser.parse_args()
    print(json.dumps(measure(**vars(options))))


if __name__ == "__main__":
    main()
