"""What the passes of seeding read, and the gains of candidates."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tilewise.kernels._dispatch cimport (
    tw_bins,
    tw_candidates,
    tw_exact_kernels,
    tw_rough,
    tw_screen_kernels,
    tw_tile_kernels,
)
from tilewise.kernels._rows cimport tw_rows
from tilewise.kernels._sums cimport (
    TW_HIGHEST,
    TW_LIMB,
    tw_bin_for,
    tw_bins_clear,
    tw_bins_fold,
    tw_bins_value,
    tw_bits_of,
    tw_exponent,
)

cdef enum:
    # Rows that are fetched at a time, of CSR rows with few entries.
    BLOCK = 64
    ALIGNMENT = 64
    # Candidates of a pass: one bit each in the mask of a row.
    MOST_TRIALS = 16
    # Rows after which gains are folded.
    FOLDED = 4096


cdef struct seeding_pass:
    const tw_rows* rows
    const tw_exact_kernels* exact
    const tw_tile_kernels* tile
    int64_t shard_rows
    int64_t begin           # the rows of this call: a whole number of blocks, or all
    int64_t end
    ptrdiff_t step
    int block               # rows fetched at a time: fewer where they are long and staged
    const double* weights
    double* closest         # (n)
    int32_t* owner          # (n)
    # (n) Number 16 g + t: to which rows of group g candidate t is closer, where the gap was not kept. Of CSR
    # rows by their entries bit t of number i: whether that is for row i.
    uint16_t* gained
    const double* trials    # (n_trials, ldc)
    ptrdiff_t ldc
    # What the screen has: see c/tw_screen.h
    const tw_screen_kernels* screen
    float* radius           # (n) upper bound of the distance to the own seed
    const float* halves     # (seeds) at most half the distance to the nearest candidate
    tw_rough rough
    const float* reaches    # (seeds) how far each seed is from the origin, for rows of doubles
    float beyond            # ... what the candidates err by, less the origin and in float
    float grow              # what a sum of squares in float may be, as a share of the true one
    uint8_t* copied         # the rows in bytes, or NULL, with
    float* errors           # (n) how far each is from its copy
    float* half_norms       # (n) half its squared norm
    int steps
    const tw_candidates* candidates
    # Gaps of pairs that gain, (shards, room) each, so that the candidate that is taken needs no pass
    int64_t room
    double* gaps
    uint32_t* places        # number of the row in its shard, and the candidate
    int64_t* n_kept         # (shards)
    uint8_t* lost           # (shards) some had no room
    int n_trials
    int trial               # the candidate that becomes a seed, and the number of the seed
    int32_t seed
    double bigs[2]          # constants of the two limbs of a gain: see c/tw_sums.h
    int64_t* gains          # (threads, MOST_TRIALS, 2, 8) what each candidate gains, in these limbs
    int64_t* highs          # (threads, MOST_TRIALS, 2) what exceeds 50 bits of them
    uint8_t* stale          # (shards) whose rows have another closest seed since they were added up
    int64_t top             # bin of the limbs of the totals, 0 before there are any
    tw_bins* totals         # (shards) of weight x distance
    double* farthest        # (shards) the largest weight x distance
    char* staging
    ptrdiff_t staging_bytes
    # CSR rows by their entries: the workspace of a thread is its staging, in parts
    bint by_entries
    ptrdiff_t entries       # stored values that it has room for
    ptrdiff_t columns
    ptrdiff_t values
    ptrdiff_t norms
    ptrdiff_t products
    double product_error    # error bound of a product, as a share of both squared norms
    int panel_vectors
    int n_panels
    ptrdiff_t width
    const int32_t* slots    # (depth) where a column of some candidate stands in the panels; 0: of none
    int n_slots
    const double* panels    # (n_panels, n_slots, width) the candidates in the lanes
    ptrdiff_t met_starts    # the entries of unpacked rows that have a slot
    ptrdiff_t met_slots
    ptrdiff_t met_values
    const int32_t* trial_starts
    const int32_t* trial_columns
    const double* trial_values
    const double* trial_norms
    double* row_norms       # (n) squared norms of the rows


# Adds what a row gains to one candidate. Gains of infinite distances mean nothing: they wrap.
cdef inline void add_gain(const seeding_pass* p, double v, int64_t* at) noexcept nogil:
    cdef double t = v + p.bigs[0]
    at[0] = <int64_t>(<uint64_t>at[0] + <uint64_t>tw_bits_of(t) - <uint64_t>tw_bits_of(p.bigs[0]))
    v -= t - p.bigs[0]
    t = v + p.bigs[1]
    at[8] = <int64_t>(<uint64_t>at[8] + <uint64_t>tw_bits_of(t) - <uint64_t>tw_bits_of(p.bigs[1]))


cdef inline void fold_gains(const seeding_pass* p, int thread) noexcept nogil:
    """Leaves 50 bits in every lane, so that each has room for FOLDED more rows."""
    cdef int64_t* gain = p.gains + thread * MOST_TRIALS * 16
    cdef int64_t* high = p.highs + thread * MOST_TRIALS * 2
    cdef int64_t carry
    cdef int limb, lane
    for limb in range(2 * p.n_trials):
        for lane in range(8 * limb, 8 * limb + 8):
            carry = gain[lane] >> TW_LIMB
            high[limb] += carry
            gain[lane] -= carry * (<int64_t>1 << TW_LIMB)


# The bin of the first limb of a gain: none exceeds the largest weight x distance.
cdef inline int64_t gain_bin(double most) noexcept nogil:
    return min(tw_bin_for(tw_exponent(most)), <int64_t>TW_HIGHEST)


# What the two limbs of a gain and what exceeds 50 bits of them stand for.
cdef inline double gain_worth(const int64_t* gains, double most) noexcept nogil:
    cdef tw_bins one
    cdef int limb
    cdef double high, low
    tw_bins_clear(&one)
    one.top = gain_bin(most)
    for limb in range(2):
        one.low[limb] = gains[limb]
        one.high[limb] = gains[2 + limb]
    tw_bins_fold(&one)
    tw_bins_value(&one, &high, &low)
    return high


# The first bin of a potential, with room for the sum of all, which draws are compared with; most is the
# largest weight x distance: distances only get smaller.
cdef inline int64_t potential_bin(double most, int64_t n_rows, int64_t shard_rows) noexcept nogil:
    cdef int64_t n_shards = (n_rows + shard_rows - 1) // shard_rows
    cdef int bits = 0
    while n_shards:
        n_shards >>= 1
        bits += 1
    while shard_rows:
        shard_rows >>= 1
        bits += 1
    return tw_bin_for(min(1024, tw_exponent(most) + bits))
