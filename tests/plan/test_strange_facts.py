"""Numbers of any size and script in variables, sysfs and control groups: used, or passed over."""

import warnings

import pytest

import tilewise
from tilewise._sizes import MOST_BYTES, parse_size
from tilewise.plan import parse_bytes
from tilewise.plan._caches import parse_cpu_list, parse_cpu_map
from tilewise.plan._facts import whole_number
from tilewise.plan.machine import Machine, detect
from tilewise.plan.threads import n_threads

LONG = "9" * 5000
STRANGE = [LONG, "9" * 40, "٤", "４", "²", "1_0", "-1", "1e3", "0x10", "\x00", "", " "]


def test_whole_numbers():
    assert whole_number("0012") == 12
    assert whole_number("0" * 5000 + "7") == 7
    assert [whole_number(text) for text in STRANGE] == [None] * len(STRANGE)


@pytest.mark.parametrize("text", STRANGE)
def test_omp_num_threads_that_makes_no_sense_is_passed_over(monkeypatch, text):
    if "\x00" in text:
        pytest.skip("no variable can hold it")
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert n_threads().value >= 1
    rows = [[float(i), float(i % 3)] for i in range(30)]
    assert len(tilewise.KMeans(2, random_state=0).fit(rows).cluster_centers_) == 2


@pytest.mark.parametrize("text", [t for t in STRANGE if t.strip()])
def test_our_own_variables_say_what_they_need(text):
    with pytest.raises(ValueError, match=r"TILEWISE_NUM_THREADS=.* is not a whole number"):
        n_threads(env={"TILEWISE_NUM_THREADS": text})
    for name in ("L1D", "L2", "L3"):
        with pytest.raises(ValueError, match=f"TILEWISE_{name}_BYTES=") as caught:
            detect(env={f"TILEWISE_{name}_BYTES": text})
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", [f"{LONG} GB", "1e400", "٤GB", "4 ＧＢ", "-1", "nan"])
def test_memory_limits(text):
    if text.startswith("9"):
        assert parse_bytes(text) == parse_bytes(10**400) == 2**62
        return
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


def test_sizes():
    assert parse_size("48K") == 49152
    for text in (LONG, f"{LONG}K", "9" * 20):
        assert parse_size(text) == MOST_BYTES
    for text in ("٤K", "-1K", "1 XB", "", "K", "1e3", "."):
        with pytest.raises(ValueError, match="is not a size"):
            parse_size(text)


@pytest.mark.parametrize(
    "text", ["0-99999999999", f"0-{LONG}", LONG, "٠-٣", "3-1", "1-", "-", "0-1048576", "a"]
)
def test_cpu_lists_do_not_fill_memory(text):
    with pytest.raises(ValueError):  # noqa: PT011 - which of the two says so does not matter
        parse_cpu_list(text)
    with pytest.raises(ValueError, match="is not a CPU map"):
        parse_cpu_map("f" * 2_000_000)


@pytest.mark.parametrize("text", STRANGE)
def test_control_groups(tmp_path, text):
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {text} kB\n")
    (group / "cpu.max").write_text(f"{text} 100000\n")
    (group / "memory.max").write_text(f"{text}\n")
    cache = tmp_path / "sys" / "devices" / "system" / "cpu" / "cpu0" / "cache" / "index0"
    cache.mkdir(parents=True)
    for name in ("level", "size", "coherency_line_size", "ways_of_associativity",
                 "shared_cpu_list"):  # fmt: skip
        (cache / name).write_text(text)
    (cache / "type").write_text("Data")
    found = detect(root=tmp_path / "sys", proc=tmp_path / "proc", env={}, affinity=[0],
                   cpu_count=1, platform="linux")  # fmt: skip
    assert found.cgroup_cpus.value is None
    assert 0 < found.memory_bytes.value < 2**60
    assert found.l1d_bytes.value < 2**40
    assert tilewise.plan(1000, 8, 8, machine=found).n_threads >= 1


@pytest.mark.parametrize("value", [10**18 * 5, 10**30, 10**400, float("inf"), float("nan"), -1.0])
def test_a_recorded_machine_has_facts_in_range(value):
    facts = tilewise.machine().to_dict()
    for name, fact in facts.items():
        if name in ("cpu_model", "isa", "hypervisor", "openmp", "byte_products"):
            continue
        with pytest.raises(ValueError, match=f"^{name} needs a"):
            Machine.from_dict(facts | {name: {**fact, "value": value}})


@pytest.mark.parametrize("value", [2**20, 2**16, 1])
def test_plans_are_made_for_every_machine_in_range(value):
    facts = tilewise.machine().to_dict()
    for name, fact in facts.items():
        if not isinstance(fact["value"], int) or isinstance(fact["value"], bool):
            continue
        try:
            odd = Machine.from_dict(facts | {name: {**fact, "value": value}})
        except ValueError:
            continue  # beyond its range
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert tilewise.plan(1000, 8, 8, machine=odd).chunk_rows >= 1
