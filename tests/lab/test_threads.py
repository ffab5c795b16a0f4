"""Words of the threads experiment follow from the samples, whichever way they went."""

import types

import threadpoolctl

from tilewise.lab import threads
from tilewise.lab._run import Case, Run, summary


def entry(series, case, median, count=8):
    samples = [median * (1 + 0.01 * (i - count // 2)) for i in range(count + 1)]
    return {"series": series, "case": case, "unit": "s", "samples": samples, **summary(samples)}


def result(sweep=(), jobs=(), cpus=2, count=8):
    return {
        "facts": {"cpus": cpus, "jobs": 4, "job_rows": 10, "tamed_threads": 1},
        "measurements": [
            *(entry("tilewise", {"threads": t}, time, count) for t, time in sweep),
            *(entry("BLAS", {"setup": name}, time, count) for name, time in jobs),
        ],
    }


def first_words(told):
    return [figure.words[0] for figure in threads.figures(told)]


def lesson(turn, alone, tamed, count=8):
    jobs = [("in turn", turn), ("left alone", alone), ("tamed", tamed)]
    return first_words(result(jobs=jobs, count=count))[0]


def test_the_lesson_is_what_happened():
    assert "limiting threads made it 2.00 times as fast. The fastest was “tamed”." in lesson(
        1.5, 2.0, 1.0
    )
    words = lesson(1.5, 1.0, 2.0)
    assert "made it take 2.00 times as long. The fastest was “left alone”." in words
    assert "too noisy to tell which is faster" in lesson(0.5, 1.0, 1.01)
    assert "The fastest was “in turn”" in lesson(0.5, 1.0, 1.01)
    assert "too few samples to tell" in lesson(1.5, 2.0, 1.0, count=2)


def test_the_sweep_says_what_more_threads_than_cpus_did():
    (words,) = first_words(result([(1, 4.0), (2, 2.0), (3, 2.4), (4, 3.0)]))
    assert "The best number, 2 threads, took 2 s on 2 CPUs, 2.00 times as fast" in words
    assert "One thread per CPU" not in words
    (words,) = first_words(result([(1, 4.0), (2, 2.5), (3, 2.0), (4, 2.0)]))
    assert "The best number, 3 threads" in words
    assert "One thread per CPU took 2.5 s, clearly slower" in words
    (words,) = first_words(result([(1, 4.0), (2, 2.01), (3, 2.0)]))
    assert "too noisy to tell from the best" in words
    (words,) = first_words(result([(1, 1.0), (2, 2.0)], cpus=1))
    assert words == "One thread took 1 s. More threads were not faster."


def test_a_warm_sample_follows_an_untimed_call():
    calls = []
    cases = [Case("a", {"n": n}, lambda n=n: calls.append(n)) for n in (0, 1)]
    run = Run({}, 0.0, quick=True)
    run.measure("phase", cases, warm_each=True)
    samples = [e["samples"] for e in run.measurements]
    repeats = [e["repeats"] for e in run.measurements]
    assert [len(own) for own in samples] == [1, 1]
    assert calls[-1 - repeats[1] :] == [1] * (1 + repeats[1])


def test_limits_are_put_back_after_jobs_in_threads():
    def limits():
        return [(own["user_api"], own["num_threads"]) for own in threadpoolctl.threadpool_info()]

    before = limits()
    for setup in ("tamed", "left alone", "in turn"):
        threads._jobs(setup, "BLAS", (200, 4, 3, "float32"), 4, 1, 3)
        assert limits() == before


def test_a_quota_leaves_fewer_cpus_than_the_machine_has():
    for quota, cpus in ((None, 8), (0.5, 1), (2.5, 3), (64.0, 8)):
        here = types.SimpleNamespace(
            n_cpus=types.SimpleNamespace(value=8), cgroup_cpus=types.SimpleNamespace(value=quota)
        )
        assert threads._cpus(here) == cpus
