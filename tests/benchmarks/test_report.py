"""The tables of ``make bench``: what noise does to them."""


def record(**medians):
    return {
        "suite": "lloyd",
        "unit": "s",
        "case": {"kind": "blobs", "n_samples": 10, "n_features": 2, "n_clusters": 3,
                 "dtype": "float32"},
        "peers": {name: {"median": m, "min": m, "max": m} for name, m in medians.items()},
    }  # fmt: skip


def result(*records):
    return {
        "records": list(records),
        "peers": {"tilewise": {}, "scikit-learn": {}},
        "machine": {"peaks": {}},
    }


def test_a_difference_of_zero_or_less_is_no_ratio(bench):
    good = record(tilewise=1.0, **{"scikit-learn": 4.0})
    for value in (0.0, -1e-7):
        bad = record(tilewise=value, **{"scikit-learn": 1.0})
        worse = record(tilewise=1.0, **{"scikit-learn": value})
        assert bench.report.ratios(bad) == (None, None)
        assert bench.report.ratios(worse) == (None, None)
        text = bench.report.suite_table(result(good, bad, worse), "lloyd")
        assert text.count("too short to measure") == 2
        assert "4.00×" in text


def test_nothing_measurable_is_no_mean(bench):
    text = bench.report.suite_table(result(record(tilewise=0.0, **{"scikit-learn": -1.0})), "lloyd")
    assert text.count("too short to measure") == 2
    assert "Geometric mean" not in text
