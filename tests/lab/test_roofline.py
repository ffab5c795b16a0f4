"""Which roof a dot has, and what its words say; from results whose truth is known."""

import pytest

from tilewise.lab import roofline
from tilewise.lab.roofs import Roofs


def entry(series, case, value, unit="GB/s"):
    return {"series": series, "case": case, "unit": unit, "samples": [value], "median": value,
            "low": value, "high": value, "min": value}  # fmt: skip


def result(seconds, memory_bytes, rows_rate=40.0, threads=1):
    """A pass of 1e9 operations under a peak of 100 GFLOP/s and memory of 10 GB/s."""
    case = {"shape": "1000x1000x500", "chunk_rows": 8, "auto": True, "flops": 1e9, "products": 0,
            "scores": 500_000, "rows_bytes": 4_000_000, "memory_bytes": memory_bytes}  # fmt: skip
    measured = [
        entry("peak", {"what": "multiply-adds"}, 100.0, "GFLOP/s"),
        entry("bandwidth", {"level": "memory", "bytes": 1 << 28}, 10.0),
        entry("pass", case, seconds, "s"),
    ]
    if rows_rate:
        measured.insert(2, entry("rows bandwidth", {"bytes": 4_000_000}, rows_rate))
    return {"measurements": measured, "parameters": {"threads": threads}, "facts": {},
            "predicted": []}  # fmt: skip


def test_rows_from_a_shared_cache_have_the_roof_of_their_own_size():
    # 50 ms for 1e9 bytes: twice what memory delivers, half of what a set of that size is read at.
    told = roofline.table(result(0.05, 1e9))
    share = told.columns.index("of its roof")
    assert told.rows[-1][share] == "50 % reads"
    assert "memory (256 MiB) 10 GB/s, reads of 3.81 MiB 40 GB/s" in told.notes[0]
    assert roofline.table(result(0.05, 1e9, None)).rows[-1][share] == "200 % memory"
    assert roofline.table(result(0.02, 1e6)).rows[-1][share] == "50 % FMA"
    words = roofline.figures(result(0.05, 1e9))[0].words
    assert "1000x1000x500: 50 % of its roof, reads of 3.81 MiB." in words[0]


def test_the_table_has_the_time_that_was_to_be_expected():
    n, d, k = 1000, 1000, 500
    chosen = {
        "n_samples": n, "n_features": d, "n_clusters": k, "dtype": "float32", "products": 0,
        "score_dtype": "float32", "layout": "centres-in-lanes", "isa": "avx512",
    }  # fmt: skip
    told = result(0.02, 1e6)
    told["measurements"].append(entry("bandwidth", {"level": "L2", "bytes": 1 << 20}, 100.0))
    told["facts"] = {"shapes": {"1000x1000x500": {"plan": chosen}}}
    flows = {"L1-L2": 3e9, "L2-memory": 0.1e9}
    told["predicted"] = [
        {"series": "1000x1000x500", "case": {"chunk_rows": 8, "flow": flow, "by": "formulas"},
         "unit": "bytes", "value": value} for flow, value in flows.items()
    ]  # fmt: skip
    # 30 ms from L2 and 10 ms from memory, one after the other; 10 ms of work meanwhile.
    table = roofline.table(told)
    assert table.rows[-1][table.columns.index("expected")] == "40 ms"
    assert table.rows[-1][table.columns.index("time")] == "20 ms"
    told["predicted"] = []
    assert roofline.table(told).rows[-1][-1] == "–"


def test_words_tell_what_stands_between_arithmetic_and_the_pass():
    words = roofline.figures(result(0.02, 1e6))[0].words[0]
    assert words.startswith("One thread of this machine reaches 100 GFLOP/s")
    assert (
        "50 % of its roof, arithmetic; the multiply-adds alone would take 10 ms of 20 ms" in words
    )
    assert "is 20 ns per score" in words
    assert (
        "2 threads of this machine reach 100"
        in (roofline.figures(result(0.02, 1e6, threads=2))[0].words[0])
    )
    # A pass that is no slower than its roof has nothing left to explain.
    assert "per score" not in roofline.figures(result(0.01, 1e6))[0].words[0]


def test_a_result_with_bandwidths_of_rows_is_a_record_of_roofs():
    roofs = Roofs.from_dict(result(0.05, 1e9))
    assert roofs.bandwidth("memory") == pytest.approx(10.0)
    assert set(roofs.bandwidth_gbs) == {"memory"}
