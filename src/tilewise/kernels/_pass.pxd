from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t

from tilewise.kernels._dispatch cimport (
    TW_SPLIT_ROWS,
    tw_exact_kernels,
    tw_looked,
    tw_screen_kernels,
    tw_split_kernels,
    tw_tile_kernels,
)
from tilewise.kernels._rows cimport tw_rows


# Everything that one pass reads. Scores are ranked as s = |c|^2/2 - x.c on values that
# were moved to `origin` and multiplied by `scale`, a power of two.
cdef struct assign_pass:
    const tw_rows* rows
    const tw_tile_kernels* tile
    const tw_exact_kernels* exact
    const tw_split_kernels* split
    const tw_screen_kernels* screen
    int depth
    int n_clusters
    int layout              # CENTRES_IN_LANES, ROWS_IN_LANES, BLAS or CSR
    int score_double        # type of the scores: 0 float, 1 double
    int lanes
    int chunk_rows
    int panel_vectors
    int n_panels
    int panels_per_block
    int depth_block
    int products            # of parts of bfloat16 per column, 3 or 6; 0: plain scores
    int steps               # split: columns, in steps of TW_SPLIT_STEP
    int step_block          # ... that are multiplied before the running scores rest
    int64_t longest         # CSR: stored values of the longest row
    int entries             # CSR: stored values that fit the workspace
    ptrdiff_t ld_scores     # BLAS, CSR: length of a row of scores in memory
    int n_groups            # of centres, each with a bound of every row; 0: there are none
    int list_entries        # groups that the rows of a chunk may meet, together
    int gathered            # CSR: scores come from the centres where they stand; nothing is packed
    # centres
    void* packed            # panels or groups, in the type of the scores
    void* split_panels      # the same, split
    ptrdiff_t split_step    # numbers of bfloat16 per panel
    double* shares          # (2, n_panels) shares of the norms that are left out: see split_errors
    void* row_major         # (k, depth), negated, in the type of the scores
    void* half_norms        # (k) in the type of the scores
    double* centers         # (k, ldc), canonical; CSR: those of the caller, not padded
    ptrdiff_t ldc
    float* narrow_centers   # (k, ldn) rounded to float32 for measure_own; float32 rows that are not CSR
    ptrdiff_t ldn
    double* narrow_errors   # (k) upper bounds of how far that moved them
    int listed_entries      # CSR: room for the numbers other than zero of one centre
    int32_t* listed         # (k) how many there are, or -1 for more
    int32_t* listed_columns  # (k, listed_entries)
    double* listed_values
    const uint8_t* stale    # CSR: (k) which centres have to be measured, or NULL for all
    double* largest         # CSR: (k) largest magnitudes of the centres
    double* center_norms    # CSR: (k) squared norms, not scaled
    double* norms           # (k) upper bounds of the scaled norms
    void* origin            # (depth) in the wider of data and scores; not for CSR, where it is zero
    double scale
    double* wide_origin     # (depth) the origin in double, for looks
    int look                # whether a pass begins with one, see _look.pyx
    tw_looked looked        # what it has of the centres
    double look_error       # the largest error of them
    double look_most_left   # share of rows beyond which looks end, with distances that they measure ...
    double look_measured    # ... counted as scores of so many centres
    # error bound: E = alpha (|x||c| + |c|^2/2) + split_error |c| + beta (|x| + |c|)^2 + eta (1 + |x|)
    double alpha
    double alpha_again      # alpha of the second look
    double second_share     # the largest of shares
    double rest_share
    double beta
    double eta
    double nu               # relative error of a packed row's squared norm
    double largest_norm
    int hopeless            # magnitudes outside what the bound covers: decide every row
    # groups: slot s of the packed centres holds centre order[s], and slots is the inverse
    const int32_t* order
    const int32_t* slots
    # state of the rows
    int32_t* labels
    float* upper            # upper bound of the distance to the own centre, or NULL
    float* lower            # lower bound of the distance to every other centre
    int use_bounds
    int tighten
    float* group_bounds     # (n, n_groups) of the distance to every other centre of a group: c/tw_groups.h
    const float* drift_below  # (n_groups) how far centres of a group went since the first pass: no more ...
    const float* drift_above  # ... and no less
    const float* moves      # (k) how far each centre moved since the bounds were made
    float largest_move
    float second_move
    int32_t largest_mover
    const double* weights   # (n) of rows that are summed, or NULL


# What one shard reports.
cdef struct shard_report:
    int64_t changed
    int64_t open            # rows that the bounds did not settle
    int64_t scored
    int64_t undecided       # rows that the scores alone did not settle
    int64_t rescanned       # rows decided among all centres again
    int64_t entries         # groups that the scored rows met, together
    int64_t looked          # rows that had a first look
    int64_t left            # ... that it did not settle
    int64_t measured        # ... and candidates that it measured
    int64_t bad_row         # first row with a value that is not finite, or -1


cdef enum:
    CENTRES_IN_LANES = 0
    ROWS_IN_LANES = 1
    BLAS = 2
    CSR = 3


# Where the parts of one thread's workspace start, in bytes; names as `LoopNest.workspace` has them.
cdef struct offsets_t:
    ptrdiff_t ids
    ptrdiff_t pointers
    ptrdiff_t ahead
    ptrdiff_t staging
    ptrdiff_t rows          # packed; CSR: the values of the entries
    ptrdiff_t starts        # CSR: where the entries of each row start
    ptrdiff_t columns       # CSR: column of each entry
    ptrdiff_t wide          # CSR: values of one row in double
    ptrdiff_t norms
    ptrdiff_t second_norms       # split: squared norms of the second parts
    ptrdiff_t rest_norms         # ... and of what is left
    ptrdiff_t split_errors         # ... and the error of what is left out, per norm of a centre
    ptrdiff_t again         # split: packed rows of the second look
    ptrdiff_t band
    ptrdiff_t best
    ptrdiff_t second
    ptrdiff_t ordinal
    ptrdiff_t label
    ptrdiff_t lowest
    ptrdiff_t second_lowest
    ptrdiff_t upper
    ptrdiff_t lower
    ptrdiff_t scratch
    ptrdiff_t groups        # groups: those that each row meets, row after row ...
    ptrdiff_t places        # ... where these entries stand when they are sorted by group
    ptrdiff_t begins        # ... where those of each group begin
    ptrdiff_t listed        # ... their rows, packed
    ptrdiff_t low           # ... and what each group leaves of a row
    ptrdiff_t next
    ptrdiff_t where
    ptrdiff_t slot
    ptrdiff_t looked_rows   # first look: a tile of rows in bytes ...
    ptrdiff_t looked_scores  # ... and its scores


# The type of the scores.
ctypedef fused score_t:
    float
    double


# Rows of the workspace for so many rows of data: whole register tiles.
cdef inline ptrdiff_t padded_rows(const assign_pass* p, ptrdiff_t count) noexcept nogil:
    cdef ptrdiff_t step = p.tile.tile_rows
    if p.products:
        step = TW_SPLIT_ROWS
    elif p.layout == ROWS_IN_LANES:
        step = p.tile.row_panel_vectors * p.lanes
    return (count + step - 1) // step * step
