"""Every distance between two sets of rows, written into a matrix."""

import numpy as np

cimport cython
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from tilewise.kernels._dispatch cimport (
    TW_HALF_TO_TWO,
    TW_LARGEST,
    TW_PAIR_CHAIN,
    TW_PAIR_DEPTH,
    TW_PAIR_KINDS,
    TW_PAIR_TILE,
    TW_PLAIN,
    TW_PRODUCTS,
    TW_ROOT,
    TW_SQUARES,
    TW_WEIGHTED,
    TW_WEIGHTED_LARGEST,
    TW_WHOLE_POWERS,
    pair_kernels,
    run_blocks,
    tw_pair_job,
    tw_pair_kernels,
    tw_pair_steps,
)
from tilewise.kernels._rows cimport Rows, all_rows, address, tw_fetch_rows, tw_rows


cdef dict _kernels():
    """Name to what is summed without weights, the same with weights, what becomes of the sum."""
    out = {}
    for kind in range(TW_PAIR_KINDS):
        weights = tw_pair_steps[kind].weights
        plain, weighted, _finish = out.get(name := tw_pair_steps[kind].kernel.decode(), (None, None, None))
        plain = kind if plain is None and weights != TW_WEIGHTED else plain
        weighted = kind if weighted is None and weights != TW_PLAIN else weighted
        out[name] = plain, weighted, tw_pair_steps[kind].finish
    out["euclidean"] = *out["sqeuclidean"][:2], TW_ROOT
    # "unit_cosine": of rows that have length one.
    out["cosine"] = out["unit_cosine"] = TW_SQUARES, None, TW_HALF_TO_TWO
    return out


_KERNELS = _kernels()
KERNELS = tuple(name for name in _KERNELS if name != "unit_cosine")

# Whole exponents up to this one are products, which is faster than a power and as exact.
_MOST_PRODUCTS = 16
# Longer rows than this are summed in float64: up to here the rounding of a sum in float32,
# 64 + d / 64 units, stays within 1.2e-5, and always below 1e-6 sqrt(d).
FLOAT_DEPTH = 2**13
# Squared distances below this share of |x|^2 + |y|^2 are measured directly in float64.
DOUBLE_SHARE = 0.5


cdef struct pair_pass:
    const tw_pair_kernels* kernels
    tw_pair_job job         # what all blocks share
    tw_rows rows            # streamed, (n_rows, depth)
    tw_rows others          # in the lanes, (n_columns, depth)
    int64_t rows_first
    int64_t others_first
    tw_rows own_rows        # rows and others before they had length one, from the same first rows
    tw_rows own_others
    int64_t n_rows
    int64_t n_columns
    int64_t row_block       # rows and columns of one task
    int64_t column_block
    int64_t column_blocks
    int fetch_rows          # rows staged at a time
    int item                # bytes of a number in the arithmetic
    int out_item
    int normalize
    ptrdiff_t step          # between staged rows
    # one thread's workspace, in bytes
    char* workspace
    ptrdiff_t staged_others
    ptrdiff_t panels
    ptrdiff_t scratch
    ptrdiff_t packed
    ptrdiff_t norms
    ptrdiff_t zero_rows
    ptrdiff_t zero_others
    ptrdiff_t total


cdef const void* _fetch(const pair_pass* p, const tw_rows* rows, int64_t first, int64_t count, char* staging,
                        char* is_zero, ptrdiff_t* step) noexcept nogil:
    """Count rows from `first` on, a fixed step apart: where they stand, or staged."""
    cdef const void* pointer
    cdef int64_t r, some
    cdef const void* pointers[64]
    if rows.direct:
        step[0] = rows.row_stride // p.item
        return rows.data + first * rows.row_stride
    step[0] = p.step
    r = 0
    while r < count:
        some = count - r if count - r < 64 else 64
        tw_fetch_rows(rows, NULL, first + r, <int>some, pointers, staging + r * p.step * p.item, p.step)
        r += some
    if p.normalize:
        p.kernels.normalize_f8(<int>count, rows.depth, <double*>staging, p.step, is_zero)
    pointer = staging
    return pointer


cdef void _ones(const pair_pass* p, tw_pair_job* job, const char* zero_rows, const char* zero_others) noexcept nogil:
    """Rows of zeros have the cosine distance one from everything."""
    cdef int64_t r, c, at
    for r in range(job.n_rows):
        for c in range(job.n_columns):
            if zero_rows[r] or zero_others[c]:
                at = c * job.out_step + r if job.turned else r * job.out_step + c
                if job.out_double:
                    (<double*>job.out)[at] = 1.0
                else:
                    (<float*>job.out)[at] = 1.0


cdef void _block(void* work, int64_t task, int _count, int thread) noexcept nogil:
    cdef const pair_pass* p = <const pair_pass*>work
    cdef tw_pair_job job = p.job
    cdef char* workspace = p.workspace + thread * p.total
    cdef char* zero_rows = workspace + p.zero_rows
    cdef char* zero_others = workspace + p.zero_others
    cdef int64_t first = task // p.column_blocks * p.row_block
    cdef int64_t stop = first + p.row_block if first + p.row_block < p.n_rows else p.n_rows
    cdef int64_t column = task % p.column_blocks * p.column_block, at, count
    cdef bint some_zero
    count = p.n_columns - column if p.n_columns - column < p.column_block else p.column_block
    job.n_columns = <int>count
    job.others = _fetch(p, &p.others, p.others_first + column, count, workspace + p.staged_others, zero_others,
                        &job.other_step)
    if job.own_others != NULL:
        job.own_others = <const float*>(p.own_others.data + (p.others_first + column) * p.own_others.row_stride)
        job.own_other_step = p.own_others.row_stride // 4
    job.panels = workspace + p.panels
    job.scratch = workspace + p.scratch
    job.packed = workspace + p.packed
    job.norms = workspace + p.norms
    if p.item == 8:
        p.kernels.pack_f8(job.n_columns, job.depth, <const double*>job.others, job.other_step,
                          <const double*>job.origin, <double*>(workspace + p.panels),
                          <double*>(workspace + p.norms))
    else:
        p.kernels.pack_f4(job.n_columns, job.depth, <const float*>job.others, job.other_step,
                          <const float*>job.origin, <float*>(workspace + p.panels),
                          <float*>(workspace + p.norms))
    some_zero = False
    if p.normalize:
        for at in range(count):
            some_zero = some_zero or zero_others[at]
    while first < stop:
        count = stop - first
        if not p.rows.direct and count > p.fetch_rows:
            count = p.fetch_rows
        job.n_rows = <int>count
        job.rows = _fetch(p, &p.rows, p.rows_first + first, count, workspace, zero_rows, &job.row_step)
        if job.own_rows != NULL:
            job.own_rows = <const float*>(p.own_rows.data + (p.rows_first + first) * p.own_rows.row_stride)
            job.own_row_step = p.own_rows.row_stride // 4
        at = column * job.out_step + first if job.turned else first * job.out_step + column
        job.out = <char*>p.job.out + at * p.out_item
        if p.item == 8:
            p.kernels.fill_f8(&job)
        else:
            p.kernels.fill_f4(&job)
        if p.normalize:
            for at in range(count):
                if some_zero or zero_rows[at]:
                    _ones(p, &job, zero_rows, zero_others)
                    break
        first += count


cdef ptrdiff_t _aligned(ptrdiff_t bytes) noexcept:
    return (bytes + 63) // 64 * 64


def arithmetic(Rows x, Rows y, out_dtype, str kernel, double p=2.0, weights=None):
    """Type in which a kernel computes: float32 only where all is float32 and it suffices."""
    cdef bint single = not x.c.is_double and not y.c.is_double and np.dtype(out_dtype) == np.float32
    single = single and x.c.depth <= FLOAT_DEPTH and kernel != "cosine"
    return np.dtype(np.float32 if single and _recipe(kernel, p, weights)[0] <= TW_LARGEST else np.float64)


cdef tuple _recipe(str kernel, double p, weights):
    """What is summed, and what becomes of the sum."""
    if kernel not in _KERNELS:
        raise ValueError(f"there is no kernel {kernel!r}")
    if kernel == "minkowski":
        if not p > 0:
            raise ValueError("p must be greater than 0")
        kernel = {1.0: "manhattan", 2.0: "euclidean", np.inf: "chebyshev"}.get(p, kernel)
    plain, weighted, finish = _KERNELS[kernel]
    if kernel == "minkowski" and p == int(p) and p <= _MOST_PRODUCTS:
        plain = weighted = TW_WHOLE_POWERS
    if weights is not None and weighted is None:
        raise ValueError(f"kernel {kernel!r} takes no weights")
    return plain if weights is None else weighted, finish


def trusted_share(int depth, bint root, dtype="float32"):
    """Smallest squared distance, as a share of |x|^2 + |y|^2, that norms and products give well.

    In float64 a constant: docs/matrices.md has the bound that follows from it. In float32, with
    u = 2^-24 and B blocks of the depth, the product of x and y is off by (64 + B) u |x||y|
    or less, which is at most half of that times |x|^2 + |y|^2 and counts twice. Moving both to
    the origin costs 4 u, rounding norms and two sums 4 u, and one more covers what is of second
    order. The share is where all that is 95 % of the 1e-6 sqrt(d) allowed: of the distance, hence
    twice as much of its square where the root is returned.
    """
    if np.dtype(dtype) == np.float64:
        return DOUBLE_SHARE
    blocks = (depth + TW_PAIR_DEPTH - 1) // TW_PAIR_DEPTH
    allowed = 0.95e-6 * np.sqrt(depth) * (2.0 if root else 1.0)
    return (min(depth, TW_PAIR_DEPTH) + blocks + 9) * 2.0**-24 * (1.0 + allowed) / allowed


def product_error(int depth):
    """Bound of the error of float64 squares from norms and products, as a share of themselves.

    docs/matrices.md derives it.
    """
    chains = (depth + TW_PAIR_CHAIN - 1) // TW_PAIR_CHAIN
    of_both = min(depth, TW_PAIR_CHAIN) + chains + depth / 128 + 15.0
    return 2.0**-53 * (1.0 + (of_both + 4.0 * DOUBLE_SHARE ** 0.5) / DOUBLE_SHARE)


def cosine_share(int depth):
    """Smallest squared distances of float32 unit rows that norms and products give well.

    As a share of |x|^2 + |y|^2 around the origin, and as it is. Rounding the rows moves their
    distance by 2 u, hence its square by 4 u / distance of itself, and something of second order:
    that may be 10 % of the 1e-6 sqrt(d) allowed, and the rest, as in `trusted_share`, 85 %.
    """
    allowed = 1e-6 * np.sqrt(depth)
    return trusted_share(depth, False) * (0.95 / 0.85), (4.0 * 2.0**-24 / (0.1 * allowed)) ** 2


def unit_rows(Rows x, int64_t first, cython.floating[:, ::1] out, char[::1] is_zero, *, str isa):
    """Write rows x[first], x[first + 1], ... divided by their lengths in float64.

    Rows of zeros stay what they are, and `is_zero` says which these are.
    """
    all_rows(x)
    cdef tw_rows rows = x.c
    cdef int64_t r, i, l, some, n = out.shape[0]
    cdef const tw_pair_kernels* kernels = pair_kernels(isa)
    cdef const void* pointers[64]
    if first < 0 or first + n > rows.n_rows or out.shape[1] != rows.depth or is_zero.shape[0] != n:
        raise ValueError("out must have one row for each of x")
    if n == 0 or rows.depth == 0:
        return
    cdef double[:, ::1] staged = np.empty((64, rows.depth))
    _read_as(&rows, 8, True)
    with nogil:
        r = 0
        while r < n:
            some = n - r if n - r < 64 else 64
            tw_fetch_rows(&rows, NULL, first + r, <int>some, pointers, <char*>&staged[0, 0], rows.depth)
            kernels.normalize_f8(<int>some, rows.depth, &staged[0, 0], rows.depth, &is_zero[r])
            for i in range(some):
                for l in range(rows.depth):
                    out[r + i, l] = <cython.floating>staged[i, l]
            r += some


def fill(Rows x, int64_t x_first, Rows y, int64_t y_first, out, *, str kernel, double p=2.0,
         const double[::1] weights=None, str isa, int n_threads, int64_t row_block, int64_t column_block,
         int fetch_rows, int group, bint turned=False, bint streaming=False,
         origin=None, Rows own_x=None, Rows own_y=None):
    """Write distances of some rows of x to some rows of y.

    Parameters
    ----------
    x, y : Rows of shape (n, d) and (m, d)
    x_first, y_first : int
        Where the rows start that out[0, 0] belongs to.
    out : ndarray of shape (a, b), float32 or float64
        out[i, j] becomes the distance of x[x_first + i] and y[y_first + j]. Rows are
        contiguous, any step lies between them.
    kernel : str
        One of `KERNELS`.
    p : float
        Of minkowski.
    weights : ndarray of shape (d,), float64, optional
    isa : str
    n_threads, row_block, column_block, fetch_rows, group : int
        Threads; rows and columns of one task; rows staged and rows stored at a time.
    turned : bool
        Whether rows of y are streamed past rows of x in the lanes.
    streaming : bool
        Whether results bypass the caches.
    origin : ndarray of shape (d,), of the type of the arithmetic, optional
        Lets euclidean distances come from norms and products around it, as far as these are
        accurate. The same for all parts of a matrix.
    own_x, own_y : Rows of float32, read where they stand, for float32 "unit_cosine" only
        What x and y were before they had length one: pairs that products do not give well are
        measured from these.
    """
    all_rows(x)
    all_rows(y)
    cdef pair_pass s
    cdef int64_t n_tasks
    _check_shapes(x, x_first, y, y_first, out, weights)
    if row_block < 1 or column_block < 1 or fetch_rows < 1 or group < 1:
        raise ValueError("blocks have at least one row")
    if out.size == 0:
        return
    s.item = arithmetic(x, y, out.dtype, kernel, p, weights).itemsize
    s.normalize = kernel == "cosine"
    s.kernels = pair_kernels(isa)
    s.job.depth, s.job.group, s.job.turned, s.job.streaming = x.c.depth, group, turned, streaming
    s.job.out, s.out_item = address(out), out.itemsize
    s.job.out_step, s.job.out_double = out.strides[0] // s.out_item, s.out_item == 8
    s.rows, s.others = (y.c, x.c) if turned else (x.c, y.c)
    s.rows_first, s.others_first = (y_first, x_first) if turned else (x_first, y_first)
    s.n_rows, s.n_columns = (out.shape[1], out.shape[0]) if turned else (out.shape[0], out.shape[1])
    _kept = _choose_sum(&s, kernel, p, weights), _place_origin(&s, origin)
    _keep_own_rows(&s, x, y, own_x, own_y)
    _read_as(&s.rows, s.item, s.normalize)
    _read_as(&s.others, s.item, s.normalize)
    s.row_block, s.column_block = min(row_block, s.n_rows), min(column_block, s.n_columns)
    s.column_blocks = (s.n_columns + s.column_block - 1) // s.column_block
    s.fetch_rows = fetch_rows
    n_tasks = (s.n_rows + s.row_block - 1) // s.row_block * s.column_blocks
    n_threads = <int>min(<int64_t>n_threads, n_tasks)
    _lay_out(&s)
    buffer = np.empty(s.total * n_threads + 64, dtype=np.uint8)
    s.workspace = <char*>(<size_t>address(buffer) + 63 & ~(<size_t>63))
    run_blocks(_block, &s, 0, n_tasks, 1, 1, n_threads)


cdef int _check_shapes(Rows x, int64_t x_first, Rows y, int64_t y_first, out, const double[::1] weights) except -1:
    if not isinstance(out, np.ndarray) or out.ndim != 2 or out.dtype not in (np.float32, np.float64) or not (
            out.dtype.isnative and out.flags.writeable and out.flags.aligned):
        raise ValueError("out must be a writable matrix of native float32 or float64")
    if x_first < 0 or y_first < 0 or x_first + out.shape[0] > x.c.n_rows or y_first + out.shape[1] > y.c.n_rows:
        raise ValueError("out has more rows or columns than there are rows of x or y")
    if x.c.depth != y.c.depth:
        raise ValueError(f"rows of x have {x.c.depth} features, rows of y {y.c.depth}")
    if weights is not None and weights.shape[0] != x.c.depth:
        raise ValueError("weights must have one entry per feature")
    if out.size and (out.shape[1] > 1 and out.strides[1] != out.itemsize or out.strides[0] % out.itemsize):
        raise ValueError("rows of out must be contiguous")
    return 0


cdef object _choose_sum(pair_pass* s, str kernel, double p, const double[::1] weights):
    """What is summed, with what weights; returns these, which the pass reads."""
    s.job.kind, s.job.finish = _recipe(kernel, p, weights)
    counts = np.ones(s.job.depth) if weights is None else np.asarray(weights)
    if s.job.kind == TW_WEIGHTED_LARGEST:
        counts = np.greater(counts, 0).astype(np.float64)
    s.job.power, s.job.divisor = p, np.sum(counts)
    # Never empty, so that it has an address.
    counts = np.append(counts, 0.0)
    s.job.weights = <const double*>address(counts)
    return counts


cdef object _place_origin(pair_pass* s, origin):
    """Squares from norms and products around the origin, which is returned; or from differences."""
    s.job.origin = NULL
    if origin is None or s.job.kind != TW_SQUARES or not s.job.depth:
        return None
    if origin.shape[0] != s.job.depth:
        raise ValueError("origin must have one entry per feature")
    origin = np.ascontiguousarray(origin, dtype=np.float32 if s.item == 4 else np.float64)
    s.job.origin = address(origin)
    s.job.trusted = trusted_share(s.job.depth, s.job.finish == TW_ROOT, origin.dtype)
    return origin


cdef int _keep_own_rows(pair_pass* s, Rows x, Rows y, Rows own_x, Rows own_y) except -1:
    """The rows before they had length one, for float32 cosines."""
    s.job.own_rows = s.job.own_others = NULL
    if s.item == 8 or s.job.finish != TW_HALF_TO_TWO:
        return 0
    if s.job.origin == NULL or own_x is None or own_y is None:
        raise ValueError("float32 cosines need an origin, and the rows as they were")
    for own, rows in ((own_x, x), (own_y, y)):
        if not own.is_direct or own.compute_dtype != np.float32 or (
                (own.n_rows, own.n_features) != (rows.n_rows, rows.n_features)):
            raise ValueError("own_x and own_y must be float32 rows like x and y")
    s.job.trusted, s.job.lowest = cosine_share(s.job.depth)
    s.own_rows, s.own_others = (own_y.c, own_x.c) if s.job.turned else (own_x.c, own_y.c)
    s.job.own_rows = <const float*>s.own_rows.data
    s.job.own_others = <const float*>s.own_others.data
    return 0


cdef void _lay_out(pair_pass* s) noexcept:
    """Where the parts of one thread's workspace start; products pack whole tiles of rows."""
    cdef ptrdiff_t columns = (s.column_block + 15) // 16 * 16
    cdef ptrdiff_t staged = 0 if s.rows.direct else min(s.row_block, <int64_t>s.fetch_rows)
    cdef bint products = s.item == 4 or s.job.origin != NULL
    if (s.item == 4 and s.job.kind == TW_PRODUCTS) or s.job.origin != NULL:
        s.job.group = (s.job.group + TW_PAIR_TILE - 1) // TW_PAIR_TILE * TW_PAIR_TILE
    s.step = (s.job.depth + 7) // 8 * 8
    s.staged_others = _aligned(staged * s.step * s.item)
    s.panels = s.staged_others + _aligned(0 if s.others.direct else s.column_block * s.step * s.item)
    s.scratch = s.panels + _aligned(columns * s.job.depth * s.item)
    s.packed = s.scratch + _aligned((s.job.group + 1) * columns * s.item)
    s.norms = s.packed + _aligned(s.job.group * (s.step + 8) * s.item if products else 0)
    s.zero_rows = s.norms + _aligned(columns * s.item if products else 0)
    s.zero_others = s.zero_rows + _aligned(staged)
    s.total = s.zero_others + _aligned(s.column_block) + 64


cdef void _read_as(tw_rows* rows, int item, bint copied):
    """Hand rows out in the type of the arithmetic; `copied` rows are never read where they stand."""
    if copied or (item == 8 and not rows.is_double):
        rows.direct = False
    rows.is_double = item == 8
