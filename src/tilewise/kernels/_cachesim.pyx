"""Set-associative caches with least-recently-used replacement, in several levels.

Write-allocate and write-back. A stream of accesses is an int64 array (m, 5): address, bytes,
count, stride, code; it touches every line of [address + i * stride, + bytes) for i < count, in
order. code is 4 * buffer + kind, kind being 0 for a read, 1 for a write and 2 for a prefetch
that skips the first level. `lab.simulate` is the face of this module.
"""

import numpy as np

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memmove

cdef enum:
    MOST_LEVELS = 4
    MOST_BUFFERS = 64
    # What is counted per level and buffer.
    ACCESSES = 0
    MISSES = 1
    WRITE_BACKS = 2
    PREFETCHED = 3
    COUNTERS = 4
    PREFETCH = 2

# An entry is line << 8 | buffer << 1 | dirty: line numbers have less than 56 bits, because addresses end here.
cdef double MOST_BYTES = 2.0**52
cdef uint64_t EMPTY = <uint64_t>-1

cdef struct level_t:
    uint64_t* entries       # (sets, ways), most recent first
    uint64_t sets
    uint64_t mask           # sets - 1 where that is a power of two, else 0
    int ways
    int64_t* counts         # (buffers, COUNTERS)

cdef struct caches_t:
    level_t levels[MOST_LEVELS]
    int n_levels
    bint inclusive


cdef inline uint64_t* _set_of(const level_t* level, uint64_t line) noexcept nogil:
    if level.mask:
        return level.entries + (line & level.mask) * level.ways
    return level.entries + line % level.sets * level.ways


cdef inline int _find(const uint64_t* entries, int ways, uint64_t key) noexcept nogil:
    cdef int way
    for way in range(ways):
        if (entries[way] ^ key) < 256:
            return way
    return -1


cdef uint64_t _drop_above(caches_t* c, int level, uint64_t line) noexcept nogil:
    """Invalidate a line in all levels nearer to the core; whether it was dirty there."""
    cdef uint64_t dirty = 0
    cdef uint64_t* entries
    cdef int i, way, ways
    for i in range(level):
        entries = _set_of(&c.levels[i], line)
        ways = c.levels[i].ways
        way = _find(entries, ways, line << 8)
        if way >= 0:
            dirty |= entries[way] & 1
            memmove(entries + way, entries + way + 1, (ways - 1 - way) * sizeof(uint64_t))
            entries[ways - 1] = EMPTY
    return dirty


cdef void _evict(caches_t* c, int level, uint64_t victim) noexcept nogil:
    """A line leaves a level: what is dirty goes to the nearest level that holds the line."""
    cdef uint64_t line = victim >> 8
    cdef uint64_t* entries
    cdef int way
    if c.inclusive and level:
        victim |= _drop_above(c, level, line)
    while victim & 1:
        c.levels[level].counts[(victim >> 1 & 127) * COUNTERS + WRITE_BACKS] += 1
        level += 1
        if level == c.n_levels:
            return
        entries = _set_of(&c.levels[level], line)
        way = _find(entries, c.levels[level].ways, line << 8)
        if way >= 0:
            entries[way] |= 1
            return


cdef void _touch(caches_t* c, int level, uint64_t line, uint64_t marks, bint prefetch) noexcept nogil:
    """Access a line from one level outwards; marks is buffer << 1 | dirty."""
    cdef level_t* at = &c.levels[level]
    cdef uint64_t* entries = _set_of(at, line)
    cdef uint64_t key = line << 8, entry
    cdef int64_t* counts = at.counts + (marks >> 1) * COUNTERS
    cdef int way
    counts[ACCESSES] += 1
    if (entries[0] ^ key) < 256:
        entries[0] |= marks & 1
        return
    for way in range(1, at.ways):
        if (entries[way] ^ key) < 256:
            entry = entries[way] | (marks & 1)
            memmove(entries + 1, entries, way * sizeof(uint64_t))
            entries[0] = entry
            return
    counts[MISSES] += 1
    if prefetch:
        counts[PREFETCHED] += 1
    entry = entries[at.ways - 1]
    memmove(entries + 1, entries, (at.ways - 1) * sizeof(uint64_t))
    entries[0] = key | marks
    if entry != EMPTY:
        _evict(c, level, entry)
    if level + 1 < c.n_levels:
        _touch(c, level + 1, line, marks & ~<uint64_t>1, prefetch)


cdef void _run(caches_t* c, const int64_t* op, Py_ssize_t n, int shift) noexcept nogil:
    """op is (n, 5)."""
    cdef Py_ssize_t _i
    cdef int64_t _j, start
    cdef uint64_t line, last, marks
    cdef int level, kind
    for _i in range(n):
        kind = op[4] & 3
        marks = <uint64_t>(op[4] >> 2) << 1 | (kind == 1)
        level = 1 if kind == PREFETCH and c.n_levels > 1 else 0
        start = op[0]
        for _j in range(op[2]):
            line = <uint64_t>start >> shift
            last = <uint64_t>(start + op[1] - 1) >> shift
            while line <= last:
                _touch(c, level, line, marks, kind == PREFETCH)
                line += 1
            start += op[3]
        op += 5


cdef class Caches:
    """Levels of one core's caches, the first nearest to it.

    Parameters
    ----------
    sets, ways : sequence of int
        Per level.
    line_bytes : int
        A power of two.
    inclusive : bool, default=False
        Whether a line that leaves a level leaves all levels nearer to the core as well.
    n_buffers : int, default=1
        Buffers that accesses are counted by, at most 64.
    """

    cdef caches_t c
    cdef int shift, n_buffers
    cdef list _keep
    cdef object _counts

    def __init__(self, sets, ways, int line_bytes=64, bint inclusive=False, int n_buffers=1):
        cdef uint64_t[::1] entries
        cdef int64_t[:, :, ::1] counts
        cdef int i
        if not 1 <= len(sets) <= MOST_LEVELS or len(ways) != len(sets):
            raise ValueError(f"one to {MOST_LEVELS} levels expected, each with sets and ways")
        if min(sets) < 1 or min(ways) < 1:
            raise ValueError("every level needs at least one set and one way")
        if line_bytes < 1 or line_bytes & (line_bytes - 1):
            raise ValueError(f"line_bytes={line_bytes} is not a power of two")
        if not 1 <= n_buffers <= MOST_BUFFERS:
            raise ValueError(f"n_buffers={n_buffers} is out of range: 1 to {MOST_BUFFERS}")
        self.shift = line_bytes.bit_length() - 1
        self.n_buffers = n_buffers
        self.c.n_levels = len(sets)
        self.c.inclusive = inclusive
        self._keep = []
        self._counts = np.zeros((len(sets), n_buffers, COUNTERS), dtype=np.int64)
        counts = self._counts
        for i in range(len(sets)):
            self._keep.append(np.full(sets[i] * ways[i], EMPTY, dtype=np.uint64))
            entries = self._keep[i]
            self.c.levels[i].entries = &entries[0]
            self.c.levels[i].sets = sets[i]
            self.c.levels[i].mask = sets[i] - 1 if sets[i] & (sets[i] - 1) == 0 and sets[i] > 1 else 0
            self.c.levels[i].ways = ways[i]
            self.c.levels[i].counts = &counts[i, 0, 0]

    def run(self, const int64_t[:, ::1] ops):
        """Let the accesses of `ops`, (m, 5), happen.

        Ctrl-C is looked for by the caller, between calls.
        """
        cdef Py_ssize_t i
        cdef double last
        if ops.shape[1] != 5:
            raise ValueError("ops must have the columns address, bytes, count, stride and code")
        if ops.shape[0] == 0:
            return
        for i in range(ops.shape[0]):
            if not 0 <= ops[i, 4] >> 2 < self.n_buffers or ops[i, 4] & 3 == 3:
                raise ValueError(f"operation {i} has the code {ops[i, 4]}, which names no buffer or no kind")
            last = ops[i, 0] + (ops[i, 2] - 1.0) * ops[i, 3] if ops[i, 2] else 0.0
            if ops[i, 0] < 0 or ops[i, 1] < 1 or ops[i, 2] < 0 or last < 0.0:
                raise ValueError(f"operation {i} reaches below address 0 or has no bytes")
            if max(<double>ops[i, 0], last) + ops[i, 1] > MOST_BYTES:
                raise ValueError(f"operation {i} reaches beyond address 2**52")
        with nogil:
            _run(&self.c, &ops[0, 0], ops.shape[0], self.shift)

    def flush(self):
        """Write back and forget everything, innermost level first, as a context switch would."""
        cdef int i
        cdef Py_ssize_t e
        cdef level_t* level
        cdef uint64_t entry
        for i in range(self.c.n_levels):
            level = &self.c.levels[i]
            for e in range(<Py_ssize_t>(level.sets * level.ways)):
                entry = level.entries[e]
                if entry != EMPTY:
                    level.entries[e] = EMPTY
                    _evict(&self.c, i, entry)

    def copy(self):
        """Caches in the same state, which go their own way."""
        cdef int i, n = self.c.n_levels
        cdef Caches other = Caches(
            [self.c.levels[i].sets for i in range(n)], [self.c.levels[i].ways for i in range(n)],
            1 << self.shift, self.c.inclusive, self.n_buffers)
        for i in range(n):
            other._keep[i][:] = self._keep[i]
        other._counts[...] = self._counts
        return other

    def counts(self):
        """Accesses, misses, write-backs and prefetched lines, int64 (levels, buffers, 4)."""
        return self._counts.copy()
