from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch cimport tw_exact_kernels, tw_near, tw_split_kernels, tw_tile_kernels
from tilewise.kernels._rows cimport tw_rows
from tilewise.kernels._workspace cimport Workspace

cdef enum:
    # Rows of Y that are fetched, and compared canonically, at a time.
    BATCH = 64
    # Room that a list of candidates takes while it is sorted: as it came, sorted, and to merge in.
    LISTS = 3


# Everything that a search for neighbours reads.
cdef struct near_pass:
    const tw_rows* x
    const tw_rows* y
    const tw_tile_kernels* tile
    const tw_exact_kernels* exact
    const tw_split_kernels* split
    int depth
    ptrdiff_t step          # numbers from one staged row to the next
    int direct              # no scores: canonical distances alone
    int score_double
    int lanes
    int panel_vectors
    int width               # columns of a panel
    int panels_per_block
    int depth_block
    int tile_rows           # rows of a tile, or of a group of split rows
    int products            # of parts of bfloat16 per column, 3 or 6; 0: plain scores
    int steps               # split: columns, in steps of TW_SPLIT_STEP
    int step_block
    ptrdiff_t split_step    # numbers of bfloat16 per panel
    double* shares          # (2, panels) what the rows of Y leave out, as shares of their norms
    double second_share     # bounds of these; negative: not known yet
    double rest_share
    void* origin            # (depth) in the wider of data and scores
    double scale
    void* panels
    int64_t y_first         # the block of Y: rows y_first .. y_first + y_count
    int64_t y_count
    int64_t x_first         # the group of X
    int64_t x_count
    int chunk_rows
    int splits              # parts of a block that are searched at the same time
    int64_t k               # 0: all within a radius
    double within           # largest canonical squared distance that is within the radius
    int fill                # radius: 0 count, 1 store
    tw_near near            # limits of candidates, without their memory
    # state of a slot: (chunk, split)
    char* slots
    ptrdiff_t slot_bytes
    ptrdiff_t indices_at
    ptrdiff_t limits_at
    ptrdiff_t norms_at
    ptrdiff_t counts_at
    ptrdiff_t triggers_at
    ptrdiff_t split_errors_at
    # workspace of a thread
    char* workspace
    ptrdiff_t workspace_bytes
    ptrdiff_t x_staging_at
    ptrdiff_t y_pointers_at
    ptrdiff_t y_staging_at
    ptrdiff_t packed_at
    ptrdiff_t scratch_at
    ptrdiff_t squares_at    # split: (2, chunk_rows) squared norms of what rows leave out
    ptrdiff_t plain_at      # split: a panel before it is split
    ptrdiff_t gaps_at       # float64 (LISTS, most_candidates)
    ptrdiff_t ids_at        # int64 (LISTS, most_candidates)
    int64_t most_candidates  # of a row, those of all splits together
    int64_t* reports        # (threads, 8), a cache line each: see report_t
    int64_t give_up         # canonical distances of a thread after which it returns
    # radius: (rows of X, parts) how many there are, and where the next one goes
    int64_t* tally
    int64_t parts           # entries of tally per row of X
    int64_t part            # ... of which the first of this block
    # where results go; radius: those of all rows, one after the other
    double* out_distances
    int64_t* out_indices
    int64_t out_size


# What a thread reports.
cdef enum report_t:
    DECIDED = 0             # canonical distances that candidates took while blocks were searched
    OVERFLOWED = 1          # whether one was not finite where no scores were computed
    BAD_ROW = 2             # one more than the first row of X that is not finite


# x against the rows ids[0 .. count) of Y: out is (count) canonical squared distances.
cdef void distances_to(const near_pass* p, const void* x, const int64_t* ids, int64_t first, int64_t count,
                       char* ws, double* out) noexcept nogil
# Memory for the candidates of so many rows, near.stride numbers each in double; it lives as long as
# what is returned.
cdef Workspace candidate_lists(tw_near* near, int64_t rows)
# Sorts by (distance, index); the arrays have room for twice n.
cdef void sort_pairs(double* distances, int64_t* indices, int64_t n) noexcept nogil
cdef bint row_is_finite(const near_pass* p, const void* x) noexcept nogil
# The candidates of a chunk of rows in one part of a block.
cdef tw_near slot(const near_pass* p, int64_t chunk, int split) noexcept nogil
cdef int64_t index_at(const near_pass* p, const tw_near* near, ptrdiff_t at) noexcept nogil
cdef void compact_row(const near_pass* p, const tw_near* near, int row) noexcept nogil
# Makes room in the full rows of a tile; tally is that of the first row of the chunk.
cdef void cut_full_rows(const near_pass* p, const tw_near* near, int tile, int count, const void** pointers,
                        int64_t* tally, char* ws, int thread) noexcept nogil
# Rows first .. stop of Y as candidates of a few rows, by canonical distances.
cdef void scan(const near_pass* p, const tw_near* near, const void** pointers, int count, int64_t first,
               int64_t stop, char* ws, int thread) noexcept nogil
# Scores above `above` are not within the radius; scores up to `below` are.
cdef void bound_within(const near_pass* p, double norm, double split_error, double* above,
                       double* below) noexcept nogil
# Counts or stores the candidates of a row that are within the radius, and forgets them.
cdef void take_within(const near_pass* p, const tw_near* near, int row, const void* x, int64_t* tally,
                      char* ws, int thread) noexcept nogil
# The same for rows first .. stop of Y, without scores.
cdef void scan_within(const near_pass* p, const void* x, int64_t first, int64_t stop, int64_t* tally,
                      char* ws, int thread) noexcept nogil
cdef int chunk_count(const near_pass* p, int64_t chunk) noexcept nogil
# The rows of a chunk of X; where they stand is the start of the workspace.
cdef const void** fetch_chunk(const near_pass* p, int64_t chunk, char* ws) noexcept nogil
# Writes the k closest of the rows of a chunk, up to the first row that is not finite.
cdef void finish_chunk(void* work, int64_t chunk, int _count, int thread) noexcept nogil
# Row `row` of the group is not finite.
cdef void report_bad(const near_pass* p, int64_t row, int thread) noexcept nogil
