"""Where caches end: synthetic curves whose truth is known, and one that a machine gave."""

import json
import math

import numpy as np
import pytest

from tilewise.lab import mountain
from tilewise.lab._steps import Step, matched, steps

KIB, MIB = 1 << 10, 1 << 20
SIZES = [int(4 * KIB * 2 ** (i / 2)) for i in range(33)]
# Working set in KiB and least time of a dependent read in ns: a guest with 48 KiB of L1, 2 MiB of
# L2 and a host's L3 of 480 MiB that it shares.
RECORDED = {
    4: 1.39, 5.625: 1.39, 8: 1.39, 11.3125: 1.39, 16: 1.34, 22.625: 1.33, 32: 1.24, 45.25: 1.25,
    64: 3.92, 90.5: 3.95, 128: 3.93, 181: 3.92, 256: 3.91, 362: 3.91, 512: 4.34, 724.0625: 4.73,
    1024: 4.99, 1448.125: 6.22, 2048: 14.71, 2896.25: 29.55, 4096: 33.73, 5792.5625: 36.03,
    8192: 38.00, 11585.1875: 42.73, 16384: 47.48, 23170.4375: 48.48, 32768: 64.73,
    46340.9375: 110.38, 65536: 144.83, 92681.875: 151.50, 131072: 161.57, 185363.75: 166.83,
    262144: 172.53,
}  # fmt: skip


def curve(levels, sizes=SIZES, spread=1.0):
    """Mean time of a read: the share of a set that no longer fits a level goes one further.

    `levels` are pairs of bytes and time, the last of them without an end; with spread > 1 the
    misses of a level begin at size / spread.
    """
    found = []
    for size in sizes:
        time, held = 0.0, 0.0
        for end, own in levels:
            fits = min(1.0, end / spread / size)
            time += max(0.0, fits - held) * own
            held = max(held, fits)
        found.append(time)
    return found


def inside(step, end):
    return step.low <= end <= step.high and 0.5 <= step.at / end <= 2


def test_clear_steps_are_found_where_they_are():
    ends = [32 * KIB, MIB, 16 * MIB]
    times = [1.3 if s <= ends[0] else 4 if s <= ends[1] else 20 if s <= ends[2] else 90
             for s in SIZES]  # fmt: skip
    found = steps(SIZES, times)
    assert [step.low for step in found] == ends
    assert all(step.high == pytest.approx(step.low * math.sqrt(2), rel=1e-3) for step in found)
    assert [(step.before, step.after) for step in found] == [(1.3, 4), (4, 20), (20, 90)]


@pytest.mark.parametrize("spread", [1.0, 1.5])
@pytest.mark.parametrize("ends", [(32 * KIB, 256 * KIB, 8 * MIB), (48 * KIB, 2 * MIB, 32 * MIB),
                                  (64 * KIB, 4 * MIB, 48 * MIB)])  # fmt: skip
def test_ends_that_misses_blur_lie_inside_of_their_climbs(ends, spread):
    times = curve([*zip(ends, (1.3, 4.0, 20.0), strict=True), (math.inf, 120.0)], spread=spread)
    by_claim, left = matched(dict(zip("abc", ends, strict=True)), steps(SIZES, times))
    assert not left
    assert all(inside(by_claim[name], end) for name, end in zip("abc", ends, strict=True))


def test_no_l3():
    times = curve([(32 * KIB, 1.3), (512 * KIB, 5.0), (math.inf, 100.0)])
    found = steps(SIZES, times)
    assert len(found) == 2
    assert inside(found[1], 512 * KIB)


def test_a_ramp_of_page_tables_is_no_step():
    slow = [1.3 * 1.2 ** max(0.0, math.log2(size / (256 * KIB))) for size in SIZES]
    assert steps(SIZES, slow) == []
    # On top of a step it moves nothing.
    clear = [4.0 if size <= MIB else 40.0 for size in SIZES]
    (step,) = steps(SIZES, [a * b for a, b in zip(slow, clear, strict=True)])
    assert step.low == MIB


def test_noise_of_samples_makes_no_steps_and_hides_none():
    ends = (48 * KIB, 2 * MIB)
    truth = np.array(curve([(ends[0], 1.3), (ends[1], 4.0), (math.inf, 100.0)]))
    for seed in range(200):
        rng = np.random.default_rng(seed)
        # What disturbs adds: a few per cent anywhere, and a burst that lasts at some sizes.
        times = truth * (1 + rng.exponential(0.03, len(truth)))
        times[rng.integers(len(truth), size=2)] *= 1.5
        flat = 1 + rng.exponential(0.03, len(truth))
        assert len(steps(SIZES, list(flat))) == 0
        by_claim, _ = matched(dict(zip("ab", ends, strict=True)), steps(SIZES, list(times)))
        assert all(by_claim.values()), seed


def test_denser_sizes_change_nothing():
    dense = sorted({*SIZES, *(int(2 * MIB * part) for part in (0.75, 1, 1.5))})
    levels = [(48 * KIB, 1.3), (2 * MIB, 4.0), (math.inf, 100.0)]
    for sizes in (SIZES, dense):
        found = steps(sizes, curve(levels, sizes))
        assert len(found) == 2
        assert inside(found[1], 2 * MIB)


def test_a_recorded_curve():
    sizes = [int(size * KIB) for size in RECORDED]
    found = steps(sizes, list(RECORDED.values()))
    claims = {"L1": 48 * KIB, "L2": 2 * MIB, "L3": 480 * MIB}
    by_claim, left = matched(claims, found)
    assert inside(by_claim["L1"], 48 * KIB)
    assert inside(by_claim["L2"], 2 * MIB)
    assert 1.5 * MIB < by_claim["L2"].at < 2.5 * MIB
    assert by_claim["L3"] is None
    # What this guest gets of L3, or the reach of its page tables.
    (other,) = left
    assert 24 * MIB < other.at < 64 * MIB


def test_nothing_to_see():
    assert steps([], []) == []
    assert steps([1], [1.0]) == []
    assert steps([1, 2, 4], [3.0, 2.0, 1.0]) == []


def test_a_step_is_given_to_the_nearest_claim_and_once():
    step = Step(KIB, 2 * KIB, 1.5 * KIB, 1.0, 2.0)
    by_claim, left = matched({"a": KIB, "b": int(1.6 * KIB), "c": 0}, [step])
    assert by_claim == {"a": None, "b": step, "c": None}
    assert left == []
    assert matched({"a": 64 * KIB}, [step]) == ({"a": None}, [step])


def test_claims_are_matched_to_what_was_seen_and_told(result_of):
    result = json.loads(json.dumps(result_of("mountain")))
    facts = result["machine"]["facts"]
    facts["l1d_bytes"]["value"], facts["l2_bytes"]["value"] = 32 * KIB, MIB
    facts["l3_bytes"]["value"] = 480 * MIB
    result["measurements"] = [
        {"series": "latency", "case": {"bytes": 2**i}, "high": 40.0, "median": 1.0,
         "samples": [40.0], "min": 1.0 if i <= 15 else 5.0 if i <= 19 else 30.0}
        for i in range(12, 24)
    ]  # fmt: skip
    told, left = mountain.compared(result)
    assert [c["seen"] and c["seen"].low for c in told] == [32 * KIB, 512 * KIB, None]
    assert left == []
    notes = mountain.table(result).notes
    assert notes[1] == "L2: claimed 1 MiB, seen 724 KiB (between 512 KiB and 1 MiB)"
    assert notes[2] == "L3: claimed 480 MiB, larger than all working sets"
    facts["l2_bytes"]["value"] = 4 * MIB
    notes = mountain.table(result).notes
    assert "L2: claimed 4 MiB, no step within a factor of two" in notes
    assert any(note.startswith("A climb at 724 KiB") for note in notes)
