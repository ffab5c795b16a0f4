"""Single rows against centres as they lie in memory: nothing is packed, nothing is planned.

A call on one row must not pay for anybody else, so this module alone looks at what users pass in. It
takes only what it can read without a doubt and answers only what it can answer without a doubt; the
rest it leaves to its caller.

Float32 rows and centres: differences in float32 rank (see tw_single.h for their error), and the
canonical distance decides among the centres that may be the closest. All else: canonical distances.
"""

import numpy as np

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport INFINITY, fabs, ldexp, sqrt
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, getenv, malloc
from libc.string cimport memcpy

from tilewise.kernels import _dispatch

from tilewise.kernels._dispatch cimport exact_kernels, tile_kernels, tw_exact_kernels, tw_tile_kernels

cnp.import_array()

cdef enum:
    # Centres at a time, on the stack ...
    CHUNK = 1024
    # ... and so many bytes of them where several rows meet them in L1: whole vectors of gaps in
    # float32, whole steps of canonical distances.
    CHUNK_BYTES = 24576
    VECTOR = 16
    STEP = 4
    # Rows that meet a chunk before the next one.
    GROUP = 32
    # Numbers of a row that are widened on the stack; longer rows are worth an allocation.
    WIDE = 1024
    # Coordinates of centres, times rows, from which on other threads may run meanwhile: some
    # microseconds.
    RELEASE = 65536
    LINE = 64
    # Answers other than labels.
    UNDECIDED = -1
    NO_MEMORY = -2
    UNREADABLE = -3

# Gaps in float32 from here on have no term that underflowed and weighs, and below the other one
# none that overflowed.
cdef float LEAST_ROUGH = 1e-24, MOST_ROUGH = 1e37
# Squared distances between which no scale would change a bit (see engine.ranges): large rows are
# brought from 2^511 to 2^380 at most, small ones lie below 2^-400.
cdef double LEAST_PLAIN = ldexp(1.0, -600), MOST_PLAIN = ldexp(1.0, 800)
# Magnitudes of centres that need no scale.
cdef double LOWEST = ldexp(1.0, -400), HIGHEST = ldexp(1.0, 480)

cdef struct single:
    int64_t k
    int depth
    int chunk               # centres at a time for several rows
    bint is_double          # the centres
    const char* rows        # (k, depth)
    bint narrow             # whether rows become float32 first, whatever they are
    float grow              # gaps up to this times the least one may belong to the closest; 0: no use
    int plain               # whether the centres are known to need no scale
    const tw_tile_kernels* tile
    const tw_exact_kernels* exact


cdef int _tables(single* s, str isa) except -1:
    s.tile, s.exact = tile_kernels(isa), exact_kernels(isa)
    return 0


# Those of the widest instruction set, unless the environment asks for others.
cdef single _widest
_tables(&_widest, max(_dispatch.available_isas(), key=_dispatch.available_isas().index))


cdef int _open(single* s, cnp.ndarray centers, str isa) except -1:
    cdef double error
    cdef int least
    if isa is not None:
        _tables(s, isa)
    elif getenv("TILEWISE_ISA") == NULL:
        s.tile, s.exact = _widest.tile, _widest.exact
    else:
        _tables(s, _dispatch.isa())
    s.k, s.depth = cnp.PyArray_DIM(centers, 0), <int>cnp.PyArray_DIM(centers, 1)
    s.is_double = cnp.PyArray_TYPE(centers) == cnp.NPY_DOUBLE
    s.rows = <const char*>cnp.PyArray_DATA(centers)
    least = STEP if s.is_double else VECTOR
    s.chunk = CHUNK_BYTES // (s.depth * (8 if s.is_double else 4)) // least * least
    s.chunk = min(<int>CHUNK, max(s.chunk, least))
    # 2 % for terms of second order.
    error = 1.02 * (s.depth / 4.0 + 8.0) * ldexp(1.0, -24)
    s.grow = 0 if s.is_double or error > 0.01 else <float>((1 + error) / (1 - error) * (1 + ldexp(1.0, -22)))
    s.narrow = 0
    s.plain = not s.is_double  # the squares of float32 are far inside
    return 0


cdef bint _is_plain(const single* s) noexcept nogil:
    """Whether no power of two is needed for the squares of these centres."""
    cdef const double* c = <const double*>s.rows
    cdef double largest[8]
    cdef int64_t i = 0, n = s.k * s.depth
    cdef int l
    for l in range(8):
        largest[l] = 0
    # Eight at a time: none waits for the one before.
    while i + 8 <= n:
        for l in range(8):
            largest[l] = max(largest[l], fabs(c[i + l]))
        i += 8
    for l in range(<int>(n - i)):
        largest[l] = max(largest[l], fabs(c[i + l]))
    for l in range(8):
        largest[0] = max(largest[0], largest[l])
    return largest[0] == 0 or LOWEST <= largest[0] <= HIGHEST


cdef int64_t _among_all(const single* s, const double* x, int64_t first, int count, double* least) noexcept nogil:
    """The closest of some centres by canonical distances, or UNDECIDED; x in float64."""
    cdef double gaps[CHUNK]
    cdef int at
    if s.is_double:
        s.exact.single_f8(x, <const double*>s.rows + first * s.depth, count, s.depth, gaps)
    else:
        s.exact.single_f4(x, <const float*>s.rows + first * s.depth, count, s.depth, gaps)
    at = s.exact.first_least(gaps, count, least)
    return first + at if at >= 0 else UNDECIDED


cdef int64_t _among_near(const single* s, const float* x, int64_t first, int count, float* lowest,
                         double* least) noexcept nogil:
    """The same by gaps in float32 first; UNDECIDED also if none of these centres can be the closest of
    all: lowest is the least gap so far."""
    cdef float gaps[CHUNK]
    cdef double own[CHUNK]
    cdef int picks[CHUNK]
    cdef const float* near[CHUNK]
    cdef const float* rows = <const float*>s.rows + first * s.depth
    cdef float here = s.tile.rough_gaps(x, rows, count, s.depth, gaps), limit
    cdef int i, at, n = count
    if here < MOST_ROUGH and s.grow > 0:
        lowest[0] = min(lowest[0], here)
        limit = max(lowest[0], LEAST_ROUGH) * s.grow
        if here > limit:
            return UNDECIDED
        n = s.tile.rough_picks(gaps, count, limit, picks)
    else:
        # Huge, not finite, or so long that float32 tells nothing.
        for i in range(count):
            picks[i] = i
    for i in range(n):
        near[i] = rows + <ptrdiff_t>picks[i] * s.depth
    s.exact.between_f4(x, near, n, s.depth, own)
    at = s.exact.first_least(own, n, least)
    return first + picks[at] if at >= 0 else UNDECIDED


cdef int _label_rows(const single* s, const char* x, bint is_double, int n, int chunk, int64_t* labels,
                     double* least) noexcept nogil:
    """Closest centres of up to GROUP rows side by side: float64, or float32 if the centres are. Returns 0,
    or UNDECIDED if a row has none."""
    cdef float lowest[GROUP]
    cdef double here
    cdef int64_t first = 0, at
    cdef int count, r, answer = 0
    cdef ptrdiff_t step = s.depth * (8 if is_double else 4)
    for r in range(n):
        labels[r], least[r], lowest[r] = UNDECIDED, INFINITY, INFINITY
    while first < s.k:
        count = <int>min(s.k - first, <int64_t>chunk)
        for r in range(n):
            if is_double:
                at = _among_all(s, <const double*>(x + r * step), first, count, &here)
            else:
                at = _among_near(s, <const float*>(x + r * step), first, count, lowest + r, &here)
            if at >= 0 and here < least[r]:
                least[r], labels[r] = here, at
        first += count
    for r in range(n):
        if labels[r] < 0 or not s.plain and not LEAST_PLAIN <= least[r] <= MOST_PLAIN:
            answer = UNDECIDED
    return answer


cdef int64_t _nearest_of(const single* s, const char* x, bint is_double, ptrdiff_t step,
                         double* least) noexcept nogil:
    """The same of one row of either type whose numbers are `step` bytes apart."""
    cdef double near[WIDE]
    cdef char* packed = <char*>near
    cdef int64_t label = UNDECIDED
    cdef bint rounded = is_double and s.narrow
    cdef bint as_double = s.is_double or is_double and not rounded
    cdef double value
    cdef int l
    if not rounded and as_double == is_double and step == (8 if is_double else 4):
        return label if _label_rows(s, x, is_double, 1, CHUNK, &label, least) == 0 else UNDECIDED
    if s.depth > WIDE:
        packed = <char*>malloc(<size_t>s.depth * 8)
        if packed == NULL:
            return NO_MEMORY
    for l in range(s.depth):
        value = (<const double*>(x + l * step))[0] if is_double else (<const float*>(x + l * step))[0]
        if not as_double:
            (<float*>packed)[l] = <float>value
        else:
            (<double*>packed)[l] = <float>value if rounded else value
    if _label_rows(s, packed, as_double, 1, CHUNK, &label, least) < 0:
        label = UNDECIDED
    if s.depth > WIDE:
        free(packed)
    return label


cdef inline bint _is_readable(cnp.ndarray X) noexcept:
    """Whether an array holds numbers of a type that is computed with, in the order of this machine."""
    cdef int kind = cnp.PyArray_TYPE(X)
    return (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) and cnp.PyArray_ISBEHAVED_RO(X)


cdef inline bint _is_rows(object X, int64_t depth) noexcept:
    return (
        cnp.PyArray_CheckExact(X)
        and cnp.PyArray_NDIM(<cnp.ndarray>X) == 2
        and cnp.PyArray_DIM(<cnp.ndarray>X, 1) == depth
        and _is_readable(<cnp.ndarray>X)
    )


cdef inline bint _is_centers(object centers) noexcept:
    """Whether centres can be read as they lie: people put their own in the place of fitted ones."""
    return (
        cnp.PyArray_CheckExact(centers)
        and cnp.PyArray_NDIM(<cnp.ndarray>centers) == 2
        and _is_readable(<cnp.ndarray>centers)
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>centers)
        and cnp.PyArray_SIZE(<cnp.ndarray>centers) > 0
        and cnp.PyArray_DIM(<cnp.ndarray>centers, 1) < 2**30
    )


cdef bint _opened(single* s, X, centers, str isa) except -1:
    """Whether rows and centres can be read as they lie; if so, s is ready for them."""
    if not _is_centers(centers) or not _is_rows(X, cnp.PyArray_DIM(centers, 1)):
        return False
    _open(s, centers, isa)
    return True


cdef int _label_all(const single* s, const char* x, bint is_double, int64_t n, int32_t* out,
                    double* gaps) noexcept nogil:
    cdef int64_t labels[GROUP]
    cdef double least[GROUP]
    cdef int64_t i = 0
    cdef int r, count
    while i < n:
        count = <int>min(n - i, <int64_t>GROUP)
        if _label_rows(s, x + i * s.depth * (8 if is_double else 4), is_double, count,
                       s.chunk if count > 1 else <int>CHUNK, labels, least) < 0:
            return 0
        for r in range(count):
            out[i + r] = <int32_t>labels[r]
            if gaps != NULL:
                gaps[i + r] = least[r]
        i += count
    return 1


cdef object _labels(single* s, cnp.ndarray X, double* gaps):
    """Labels (n,) of rows, or None if one is undecided; gaps is (n) or NULL."""
    cdef cnp.npy_intp n
    cdef cnp.ndarray labels
    cdef bint is_double = s.is_double or cnp.PyArray_TYPE(X) == cnp.NPY_DOUBLE
    cdef int done
    if not cnp.PyArray_IS_C_CONTIGUOUS(X) or is_double != (cnp.PyArray_TYPE(X) == cnp.NPY_DOUBLE):
        X = np.ascontiguousarray(X, dtype=np.float64 if is_double else np.float32)
    n = cnp.PyArray_DIM(X, 0)
    labels = cnp.PyArray_EMPTY(1, &n, cnp.NPY_INT32, 0)
    cdef const char* x = <const char*>cnp.PyArray_DATA(X)
    cdef int32_t* out = <int32_t*>cnp.PyArray_DATA(labels)
    if n * s.k * s.depth < RELEASE:
        done = _label_all(s, x, is_double, n, out, gaps)
    else:
        with nogil:
            done = _label_all(s, x, is_double, n, out, gaps)
    if not done and not s.plain:
        # Perhaps nothing was in the way but caution: rows that lie on centres are common.
        s.plain = _is_plain(s)
        if s.plain:
            return _labels(s, X, gaps)
    return labels if done else None


def labels_of(X, centers, str isa=None):
    """Exact labels of rows, one after another.

    Parameters
    ----------
    X : ndarray (n, d)
    centers : ndarray (k, d)
    isa : str, optional
        Instruction set; by default that of TILEWISE_ISA, or the widest.

    Returns
    -------
    int32 (n,) or None
        None where these arrays cannot be read as they are (float32 and float64 can; centres in C
        order), where a value is not finite, or where squares leave the range of float64.
    """
    cdef single s
    if not _opened(&s, X, centers, isa):
        return None
    return _labels(&s, X, NULL)


def gaps_of(X, centers, str isa=None):
    """Canonical squared distances of rows to their closest centres, float64 (n,); None as above."""
    cdef single s
    if not _opened(&s, X, centers, isa):
        return None
    gaps = np.empty(X.shape[0])
    return None if _labels(&s, X, <double*>cnp.PyArray_DATA(gaps)) is None else gaps


cdef int _distances(const single* s, cnp.ndarray X, cnp.ndarray out) except -1:
    """Canonical squared distances (n, k); X is in C order. Returns whether all need no more care."""
    cdef cnp.npy_intp n = cnp.PyArray_DIM(X, 0), i
    cdef const double* x = <const double*>cnp.PyArray_DATA(X)
    cdef double* gaps = <double*>cnp.PyArray_DATA(out)
    cdef double least = INFINITY, total = 0
    cdef int64_t j, count
    with nogil:
        j = 0
        while j < s.k:
            count = min(s.k - j, <int64_t>(s.chunk if n > 1 else <int>CHUNK))
            for i in range(n):
                if s.is_double:
                    s.exact.single_f8(x + i * s.depth, <const double*>s.rows + j * s.depth, <int>count, s.depth,
                                      gaps + i * s.k + j)
                else:
                    s.exact.single_f4(x + i * s.depth, <const float*>s.rows + j * s.depth, <int>count, s.depth,
                                      gaps + i * s.k + j)
            j += count
        for j in range(n * s.k):
            least, total = min(least, gaps[j]), total + gaps[j]
    # A NaN is not below anything.
    return total <= MOST_PLAIN and (least >= LEAST_PLAIN or least == 0 and s.plain)


def distances_of(X, centers, str isa=None):
    """Canonical squared distances of rows to all centres, float64 (n, k); None as above.

    None also where one is so small that its terms may have underflowed.
    """
    cdef single s
    if not _opened(&s, X, centers, isa):
        return None
    # Differences of two numbers of float32 are no smaller than 2^-149.
    s.plain = s.plain and cnp.PyArray_TYPE(X) == cnp.NPY_FLOAT
    wide = np.ascontiguousarray(X, dtype=np.float64)
    out = np.empty((wide.shape[0], s.k))
    return out if _distances(&s, wide, out) else None


cdef cnp.ndarray _frozen(centers):
    """A copy that nobody can write to, since its memory is that of bytes."""
    # A load across two cache lines is two loads: large models take half as long again.
    cdef Py_ssize_t size = centers.nbytes
    memory = PyBytes_FromStringAndSize(NULL, size + LINE)
    cdef char* start = PyBytes_AS_STRING(memory)
    cdef Py_ssize_t offset = -<Py_ssize_t><size_t>start % LINE
    offset = offset + LINE if offset < 0 else offset
    memcpy(start + offset, cnp.PyArray_DATA(<cnp.ndarray>centers), size)
    return np.frombuffer(memory, centers.dtype, centers.size, offset).reshape(centers.shape)


cdef class SingleRows:
    """Centres that answer one row at a time.

    A subclass has ``_otherwise(row)``: label and distance of a row that cannot be answered here.

    Parameters
    ----------
    centers : ndarray of shape (k, d), float32 or float64
        In C order; they are copied.
    dtype : dtype or None
        What rows become before they are answered; None leaves float32 and float64 as they are.
    isa : str, optional
        Instruction set; by default that of TILEWISE_ISA, or the widest.
    """

    cdef single s
    cdef object _own
    cdef readonly object dtype

    def __cinit__(self, centers, dtype, str isa=None):
        if not _is_centers(centers):
            raise ValueError("centres must be a matrix of float32 or float64 in C order")
        self._own, self.dtype = _frozen(centers), dtype
        _open(&self.s, self._own, isa)
        self.s.narrow = dtype == np.float32
        self.s.plain = self.s.plain or _is_plain(&self.s)

    @property
    def centers(self):
        """The centres, read-only."""
        # A view of its own for everybody: people can give a view another shape.
        return self._own.view()

    cdef int64_t _answer(self, object row, double* least) noexcept:
        cdef cnp.ndarray x
        cdef const char* data
        cdef ptrdiff_t step
        cdef bint is_double
        cdef int64_t label
        if not cnp.PyArray_CheckExact(row):
            return UNREADABLE
        x = <cnp.ndarray>row
        if cnp.PyArray_NDIM(x) != 1 or cnp.PyArray_DIM(x, 0) != self.s.depth or not _is_readable(x):
            return UNREADABLE
        data, step = <const char*>cnp.PyArray_DATA(x), cnp.PyArray_STRIDE(x, 0)
        is_double = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
        if self.s.k * self.s.depth < RELEASE:
            return _nearest_of(&self.s, data, is_double, step, least)
        with nogil:
            label = _nearest_of(&self.s, data, is_double, step, least)
        return label

    def __call__(self, row):
        """Return the closest centre of one row.

        Parameters
        ----------
        row : array-like of shape (n_features,)
            An array of float32 or float64 is fastest. Whatever else has the buffer protocol, and
            lists, will do.

        Returns
        -------
        label : int
            The lowest index among the centres at the least distance: that of ``predict``.

        Raises
        ------
        ValueError
            If the shape is another one, or a value is NaN or infinite.
        TypeError
            If the row does not hold real numbers.
        """
        cdef double least
        cdef int64_t label = self._answer(row, &least)
        if label < 0:
            return self._otherwise(row)[0]
        return label

    def nearest(self, row):
        """Return the closest centre of one row, and how far it is.

        Parameters
        ----------
        row : array-like of shape (n_features,)
            As for a call.

        Returns
        -------
        label : int
        distance : float
            Euclidean, in float64.

        Raises
        ------
        ValueError
            If the shape is another one, or a value is NaN or infinite.
        TypeError
            If the row does not hold real numbers.
        """
        cdef double least
        cdef int64_t label = self._answer(row, &least)
        if label >= 0 and (LEAST_PLAIN <= least <= MOST_PLAIN or least == 0 and self._lies_on(row, label)):
            return label, sqrt(least)
        return self._otherwise(row)

    cdef bint _lies_on(self, row, label):
        """Whether a row is a centre: other distances of 0 are not known to be."""
        return np.array_equal(row if self.dtype is None else row.astype(self.dtype), self._own[label])
