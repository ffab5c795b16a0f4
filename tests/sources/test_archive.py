"""Archives of arrays: what NumPy writes is read; what is damaged or hostile is named."""

import os
import pickle
import zipfile

import damage
import numpy as np
import pytest

from tilewise.sources import Archive, SourceError, as_source, map_npy

ARRAYS = {
    "rows": np.arange(12.0).reshape(4, 3),
    "fortran": np.asfortranarray(np.arange(12, dtype="f4").reshape(4, 3)),
    "swapped": np.arange(5, dtype=">i2"),
    "text": np.array("höhe"),
    "no text": np.array(""),
    "scalar": np.array(3),
    "flag": np.array(True),
    "cube": np.ones((2, 3, 4), "u1"),
    "none": np.empty((0, 3)),
    "records": np.zeros(2, [("a", "<i4"), ("b", "<f8", 3)]),
}


def write(path, members, packing="stored"):
    path.write_bytes(damage.zipped(members, packing))
    return str(path)


def read_all(path):
    with Archive(path) as archive:
        return {name: archive.read(name) for name in archive.names}


def outcome(read, path):
    """What was read, or what was said of the file; whatever else is raised is a defect."""
    try:
        return read(path), None
    except SourceError as error:
        return None, str(error)


@pytest.mark.parametrize("packing", damage.PACKINGS)
def test_arrays_come_back(tmp_path, packing):
    members = [(f"{name}.npy", damage.saved(array)) for name, array in ARRAYS.items()]
    found = read_all(write(tmp_path / "x.npz", members, packing))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.f_contiguous == array.flags.f_contiguous


def test_what_numpy_writes(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", ARRAYS["rows"], b=ARRAYS["cube"])
        with Archive(tmp_path / "x.npz") as archive:
            assert sorted(archive.names) == ["arr_0", "b"]
            assert archive.header("b").shape == (2, 3, 4)
            np.testing.assert_array_equal(archive.read("arr_0"), ARRAYS["rows"])
            with pytest.raises(SourceError, match=r"x\.npz: holds no array 'c'"):
                archive.read("c")


@pytest.mark.parametrize("case", damage.HEADERS)
def test_headers_that_no_array_has(tmp_path, case):
    content, said = damage.HEADERS[case]
    path = write(tmp_path / "x.npz", [("a.npy", content)])
    with Archive(path) as archive, pytest.raises(SourceError, match=said) as caught:
        archive.read("a")
    assert f"{path} [a]" in str(caught.value)
    plain = tmp_path / "x.npy"
    plain.write_bytes(content)
    for read in (map_npy, as_source):
        with pytest.raises(SourceError, match=said) as caught:
            read(str(plain))
        assert str(plain) in str(caught.value)


@pytest.mark.parametrize("packing", damage.PACKINGS)
def test_damage_anywhere_in_an_archive(tmp_path, packing):
    members = [("a.npy", damage.saved(ARRAYS["rows"])), ("b.npy", damage.saved(ARRAYS["text"]))]
    good = damage.zipped(members, packing)
    path, refused = tmp_path / "x.npz", 0
    for seed in range(150):
        path.write_bytes(damage.damaged(good, seed))
        found, error = outcome(read_all, path)
        if error is not None:
            refused += 1
            assert str(path) in error
            assert error.isprintable()
            continue
        # Checksums cover the numbers, and nothing but a name can have changed.
        for array in found.values():
            assert any(np.array_equal(array, ARRAYS[name]) for name in ("rows", "text"))
    assert refused > 75


def test_damage_anywhere_in_a_file_of_one_array(tmp_path):
    good, path, refused = damage.saved(ARRAYS["rows"]), tmp_path / "x.npy", 0
    for seed in range(400):
        path.write_bytes(damage.damaged(good, seed))
        array, error = outcome(map_npy, str(path))
        if error is None:
            assert os.path.getsize(path) >= array.nbytes
            continue
        refused += 1
        assert str(path) in error
    assert refused > 100


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    objects = np.array([Bomb(), None], object)
    np.savez(tmp_path / "x.npz", a=objects)
    np.save(tmp_path / "x.npy", objects)
    with Archive(tmp_path / "x.npz") as archive:
        assert archive.header("a").dtype == object
        with pytest.raises(SourceError, match=r"x\.npz \[a\]: holds Python objects"):
            archive.read("a")
    with pytest.raises(SourceError, match=r"x\.npy: holds Python objects"):
        map_npy(str(tmp_path / "x.npy"))
    path = write(tmp_path / "y.npz", [("a.npy", pickle.dumps(Bomb()))])
    with Archive(path) as archive, pytest.raises(SourceError, match="does not begin as"):
        archive.read("a")
    (tmp_path / "z.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SourceError, match=r"not a \.npz file"):
        Archive(tmp_path / "z.npz")
    assert not (tmp_path / "exploded").exists()


def test_members_that_are_not_arrays_are_none(tmp_path):
    path = write(tmp_path / "x.npz", [("a.txt", b"hello"), ("b.npy", damage.saved(np.ones(2)))])
    with Archive(path) as archive:
        assert archive.names == ("b",)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(tmp_path):
    one = damage.saved(np.ones(2))
    path = write(tmp_path / "x.npz", [("a.npy", one), ("a.npy", one)])
    with pytest.raises(SourceError, match=r"x\.npz: the archive is damaged: it has two members"):
        Archive(path)


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"\0" * 47, "is cut off"), (b"\0" * 49, "has data after its numbers"), (b"", "is cut off")],
)
def test_another_length_than_promised(tmp_path, body, said):
    content = damage.npy(damage.described(), body)
    path = write(tmp_path / "x.npz", [("a.npy", content)])
    (tmp_path / "x.npy").write_bytes(content)
    with Archive(path) as archive, pytest.raises(SourceError, match=said):
        archive.read("a")
    with pytest.raises(SourceError, match=said):
        map_npy(str(tmp_path / "x.npy"))


def test_an_archive_that_claims_more_than_it_can_hold(tmp_path):
    """Header and directory agree on a size that would fill memory; nothing of it is asked for."""
    huge = 2**50
    content = damage.npy(damage.described(shape=f"({huge // 8},)"))
    path = write(tmp_path / "x.npz", [("a.npy", content)], "deflate")
    with Archive(path) as archive:
        archive._members["a.npy"].file_size = len(content) + huge
        with pytest.raises(SourceError, match="claims more bytes than it can hold"):
            archive.read("a")


def test_a_password_and_another_packing(tmp_path):
    good = bytearray(damage.zipped([("a.npy", damage.saved(np.ones(2)))]))
    entry = good.rindex(b"PK\x01\x02")
    for offset, value in ((8, 1), (10, 97)):  # flags: encrypted; method: Jpeg
        content = bytearray(good)
        for start in (0, entry):
            content[start + offset - (2 if start == 0 else 0)] = value
        (tmp_path / "x.npz").write_bytes(content)
        with Archive(tmp_path / "x.npz") as archive, pytest.raises(SourceError, match="damaged"):
            archive.read("a")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Archive(tmp_path / "x.npz")
    with pytest.raises(IsADirectoryError):
        Archive(tmp_path)
    with pytest.raises(SourceError, match=r"nowhere\.npy: cannot be read"):
        map_npy(str(tmp_path / "nowhere.npy"))
    (tmp_path / "e.npz").write_bytes(b"")
    with pytest.raises(SourceError, match=r"e\.npz: not a \.npz file"):
        Archive(tmp_path / "e.npz")
    with zipfile.ZipFile(tmp_path / "f.npz", "w"):
        pass
    assert read_all(tmp_path / "f.npz") == {}


def test_names_of_files_and_members_are_printable_in_errors(tmp_path):
    name = "a\x1b[2J\n\u202eb"
    path = write(tmp_path / "x\x1b[31m\r.npz", [(f"{name}.npy", b"no array")])
    with Archive(path) as archive:
        with pytest.raises(SourceError) as caught:
            archive.read(archive.names[0])
    assert str(caught.value).isprintable()
    assert r"x\x1b[31m\r.npz [a\x1b[2J\n\u202eb]" in str(caught.value)


def test_a_map_is_what_was_saved(tmp_path):
    for name, array in ARRAYS.items():
        np.save(tmp_path / "x.npy", array)
        found = map_npy(str(tmp_path / "x.npy"))
        assert found.dtype == array.dtype, name
        assert found.shape == array.shape, name
        np.testing.assert_array_equal(found, array)
        assert not found.size or not found.flags.writeable
