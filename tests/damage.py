"""Files as failing disks, cut transfers and hostile strangers leave them."""

import io
import random
import struct
import zipfile

import numpy as np

MAGIC = b"\x93NUMPY"

#: How the members of an archive may be packed.
PACKINGS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def damaged(content, seed):
    """Content with bytes flipped, cut off, put in or overwritten; equal seeds, equal damage."""
    rng = random.Random(seed)
    content = bytearray(content)
    kind = rng.choice(("flip", "flip", "cut", "insert", "overwrite", "swap"))
    at = rng.randrange(len(content))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 4, 16))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = rng.randbytes(rng.randrange(1, 9))
    elif kind == "overwrite":
        size = rng.choice((1, 2, 4, 8))
        content[at : at + size] = rng.choice((b"\xff", b"\0", b"\x7f")) * size
    else:
        other = rng.randrange(len(content))
        content[at : at + 8], content[other : other + 8] = (
            content[other : other + 8], content[at : at + 8],
        )  # fmt: skip
    return bytes(content)


def npy(header, body=b"", version=(1, 0), length=None):
    """A file of format .npy with any header: a text, or the bytes of one."""
    if isinstance(header, str):
        header = header.encode("latin1")
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header) if length is None else length)
    return MAGIC + bytes(version) + size + header + body


def described(descr="'<f8'", fortran="False", shape="(2, 3)"):
    """The text of a header."""
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def saved(array):
    """What numpy.save writes."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(members, packing="stored"):
    """An archive with members of any bytes, in the order given; names may come twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", PACKINGS[packing]) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


#: Headers that no array has: the header, and what the message says of it.
HEADERS = {
    "nested description": (npy(described("[[['<f8']]]"), b"\0" * 48), "cannot be understood"),
    "tuple description": (npy(described("('<f8', (((2,),),))"), b"\0" * 48), "cannot be under"),
    "description of numbers": (npy(described("3"), b"\0" * 48), "cannot be understood"),
    "description of nothing": (npy(described("None"), b"\0" * 48), "cannot be understood"),
    "fields without end": (npy(described("[('a', " * 900)), "cannot be understood"),
    "unknown letter": (npy(described("'<q9'")), "cannot be understood"),
    "bool in the shape": (npy(described(shape="(True, 3)"), b"\0" * 24), "damaged: shape"),
    "negative size": (npy(described(shape="(-2, 3)"), b"\0" * 48), "damaged: shape"),
    "two negative sizes": (npy(described(shape="(-2, -3)"), b"\0" * 48), "damaged: shape"),
    "shape of floats": (npy(described(shape="(2.0, 3)"), b"\0" * 48), "damaged: shape"),
    "shape of text": (npy(described(shape="'23'"), b"\0" * 48), "damaged: shape"),
    "list for a shape": (npy(described(shape="[2, 3]"), b"\0" * 48), "damaged: shape"),
    "dimensions without end": (npy(described(shape=f"({'1,' * 500})"), b"\0" * 8), "damaged: sh"),
    "none times huge": (npy(described(shape=f"(0, {2**70})")), "larger than any array"),
    "huge times none": (npy(described(shape=f"({2**70}, 0)")), "larger than any array"),
    "digits without end": (npy(described(shape=f"({'9' * 5000}, 3)")), "cannot be understood"),
    "many digits": (npy(described(shape=f"({'9' * 4000}, {'9' * 4000})")), "is cut off"),
    "more than a disk": (npy(described(shape=f"({2**40}, {2**40})")), "is cut off"),
    "order that is none": (npy(described(fortran="1"), b"\0" * 48), "fortran_order"),
    "another key": (npy(described()[:-3] + "'x': 1}", b"\0" * 48), "cannot be understood"),
    "a key twice over": (npy("{'descr': '<f8'}"), "cannot be understood"),
    "not ASCII": (npy("{'d\xe9scr': '<f8'}", version=(3, 0)), "cannot be understood"),
    "not UTF-8": (npy(b"{'d\xff'}", version=(3, 0)), "cannot be understood"),
    "NUL inside": (npy(described() + "\0"), "cannot be understood"),
    "a call": (npy("__import__('os').getcwd()"), "cannot be understood"),
    "brackets": (npy("(" * 9000), "cannot be understood"),
    "signs": (npy("-" * 9000 + "1"), "cannot be understood"),
    "length too long": (npy(described(), length=60_000), "60000 bytes long"),
    "length beyond the file": (npy(described(), length=9000), "it is cut off"),
    "length too short": (npy(described(), b"\0" * 48, length=20), "cannot be understood"),
    "no length": (MAGIC + b"\1\0", "bytes long"),
    "length of four gigabytes": (npy(described(), version=(2, 0), length=2**32 - 1), "bytes long"),
    "version 0": (npy(described(), version=(0, 0)), "version 0"),
    "version 1.1": (npy(described(), version=(1, 1)), r"version 1\.1"),
    "version 255": (npy(described(), version=(255, 255)), r"version 255\.255"),
    "magic alone": (MAGIC, "version 0"),
    "empty": (b"", "is empty"),
    "text": (b"1,2,3\n", "does not begin as"),
}
