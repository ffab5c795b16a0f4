from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t


cdef extern from "c/tw_kernels.h" nogil:
    # The arguments of a kernel stand in the C headers alone. `...` leaves every call to the C
    # compiler, which knows them: a call that does not fit is an error (see meson.build).
    ctypedef void (*tw_act)(...) noexcept nogil
    ctypedef int (*tw_count)(...) noexcept nogil
    ctypedef int64_t (*tw_long_count)(...) noexcept nogil
    ctypedef double (*tw_measure)(...) noexcept nogil
    ctypedef float (*tw_measure_f4)(...) noexcept nogil

    ctypedef struct tw_near:
        void* scores
        void* indices
        ptrdiff_t stride
        void* limits
        int32_t* counts
        int32_t* triggers
        const void* norms
        int k
        int room
        double alpha
        double beta
        double eta
        double nu
        double largest_norm
        double share
        const float* split_errors

    ctypedef struct tw_grid:
        int depth
        int n_blocks
        int uniform
        int all_normal
        const int32_t* limbs
        const int32_t* starts
        const int16_t* exponents
        const double* bigs
        int64_t length

    ctypedef struct tw_bins:
        int64_t top
        double special
        int64_t low[3]
        int64_t high[3]

    ctypedef struct tw_bins8:
        int64_t tops[8]
        double special[8]

    ctypedef struct tw_tile_kernels:
        int vector_bytes
        int tile_rows
        int panel_vectors
        int row_panel_vectors
        int group
        tw_act assign_f4, assign_f8
        tw_act certify_f4, certify_f8
        tw_act assign_lanes_f4, assign_lanes_f8
        tw_act certify_lanes_f4, certify_lanes_f8
        tw_act collect_f4, collect_f8
        tw_act bands_f4, bands_f8
        tw_act renew_f4, renew_f8
        tw_act scan_f4, scan_f8
        tw_act csr_scores_f4, csr_scores_f8
        tw_act pack_f4f4, pack_f4f8, pack_f8f4, pack_f8f8
        tw_act pack_lanes_f4f4, pack_lanes_f4f8, pack_lanes_f8f4, pack_lanes_f8f8
        tw_act pack_panel_f4f4, pack_panel_f4f8, pack_panel_f8f4, pack_panel_f8f8
        tw_count select_f4, select_f8
        tw_act compact_f4, compact_f8
        tw_count feed_f8
        tw_measure_f4 extent_f4
        tw_measure extent_f8
        tw_act meet_group_f4, meet_group_f8
        tw_act certify_groups_f4, certify_groups_f8
        tw_act renew_groups_f4, renew_groups_f8
        tw_count open_rows
        tw_count open_by_groups
        tw_count near_groups
        tw_measure_f4 rough_gaps
        tw_count rough_picks
        tw_act own_gaps
        tw_measure multiply_adds_f4, multiply_adds_f8

    ctypedef struct tw_open:
        const uint16_t* places
        const void* const* pointers
        const char* data
        ptrdiff_t row_stride
        int depth
        const double* trials
        ptrdiff_t ldc
        const double* closest
        const double* weights
        uint16_t* gained
        uint32_t offset
        const double* bigs
        int64_t* gain
        double* gaps
        uint32_t* kept
        int64_t* n_kept
        int64_t room
        uint8_t* lost

    enum:
        TW_GROUP_CENTRES
        TW_PLACE_BITS
        TW_LANES_DEPTH
        TW_BRUTE_FORCE_ROWS
        TW_AS_ROOT
        TW_AS_FLOAT

    ctypedef struct tw_exact_kernels:
        tw_measure distance_f4, distance_f8
        tw_act distances_f4, distances_f8
        tw_act distances_picked_f4, distances_picked_f8
        tw_act distances_lanes_f4, distances_lanes_f8
        tw_act distances_own_f4, distances_own_f8
        tw_act between_f4, between_f8
        tw_act single_f4, single_f8
        tw_act add_row_f4, add_row_f8
        tw_act bin_rows_f4, bin_rows_f8
        tw_count move_by_rows_f4, move_by_rows_f8
        tw_act moments_f4, moments_f8
        tw_act distances_pairs_f4, distances_pairs_f8
        tw_act measure_open_f4, measure_open_f8
        tw_act distances_same_f4, distances_same_f8
        tw_act add_gains
        tw_act carry_row
        tw_measure average_row
        tw_measure moved_by
        tw_count nonzeros
        tw_measure bin_values
        tw_act move_center
        tw_act csr_panels
        tw_act csr_index
        tw_count finish_f4, finish_f8
        tw_measure merged
        tw_act merged_four
        tw_long_count not_above
        tw_long_count collect_within
        tw_measure squared_norm
        tw_measure own_entries
        tw_count first_least
        tw_count brute_force
        tw_measure spread_distance
        tw_act gather_scores
        tw_measure measure_center
        tw_act fade


cdef extern from "c/tw_screen.h" nogil:
    enum:
        TW_SCREEN_GROUP
        TW_SCREEN_ROWS
        TW_SCREEN_GROUPS
        TW_SCREEN_PLACES
        TW_SCREEN_DEPTH
        TW_LOOK_ROWS
        TW_LOOK_CENTRES
        TW_LOOK_ROOM

    int tw_bits(uint16_t mask)
    float tw_radius(double square)

    ctypedef struct tw_rough:
        const float* values
        ptrdiff_t step
        int count
        int depth
        const double* origin

    ctypedef struct tw_copied:
        const uint8_t* rows
        const float* radius
        const float* errors
        const float* halves
        int steps

    ctypedef struct tw_candidates:
        const int8_t* values
        const int32_t* bases
        const float* errors
        float inverse
        int count

    ctypedef struct tw_looked:
        int count, panels
        int steps
        int8_t* values
        int32_t* bases
        float* units
        float* errors
        float* halves

    ctypedef struct tw_screen_kernels:
        int coarse
        tw_act lanes_f4, lanes_f8
        tw_act lanes_here_f4, lanes_here_f8
        tw_act copy_f4, copy_f8
        tw_act near_rows
        tw_count list_bits
        tw_act limits
        tw_act copy_trials
        tw_act compare
        tw_act look_rows_f4, look_rows_f8
        tw_act look_panel, look, look_list


cdef extern from "c/tw_order.h" nogil:
    double tw_meet(const double* sums)


cdef extern from "c/tw_pair.h" nogil:
    cdef enum:
        TW_PAIR_CHAIN
        TW_PAIR_DEPTH
        TW_PAIR_TILE
        TW_SQUARES
        TW_PRODUCTS
        TW_LARGEST
        TW_WEIGHTED_LARGEST
        TW_WHOLE_POWERS
        TW_PAIR_KINDS
        TW_PLAIN
        TW_WEIGHTED
        TW_ROOT
        TW_HALF_TO_TWO

    ctypedef struct tw_pair_step:
        const char* kernel
        int weights
        int finish

    const tw_pair_step* tw_pair_steps

    ctypedef struct tw_pair_job:
        int kind
        int finish
        int depth
        int n_rows
        int n_columns
        int group
        const void* rows
        ptrdiff_t row_step
        const void* others
        ptrdiff_t other_step
        const void* panels
        const double* weights
        const void* origin
        double trusted
        double lowest
        const float* own_rows
        ptrdiff_t own_row_step
        const float* own_others
        ptrdiff_t own_other_step
        double power
        double divisor
        void* scratch
        void* packed
        const void* norms
        void* out
        ptrdiff_t out_step
        int out_double
        int turned
        int streaming

    ctypedef struct tw_pair_kernels:
        int vector_bytes
        tw_act pack_f4, pack_f8
        tw_act fill_f4, fill_f8
        tw_act normalize_f8


cdef extern from "c/tw_split.h" nogil:
    enum:
        TW_SPLIT_ROWS
        TW_SPLIT_STEP

    int tw_split_parts(int products)

    ctypedef struct tw_split_kernels:
        tw_act pack_f4, pack_f8
        tw_act pack_panel
        tw_act split_errors
        tw_act assign
        tw_count select
        tw_act multiply_tiles


cdef const tw_tile_kernels* tile_kernels(str isa) except NULL
cdef const tw_exact_kernels* exact_kernels(str isa) except NULL
cdef const tw_pair_kernels* pair_kernels(str isa) except NULL
cdef const tw_split_kernels* split_kernels(str isa) except NULL
# Without `vnni` as on a processor that has AVX-512 but not its 8-bit products.
cdef const tw_screen_kernels* screen_kernels(str isa, bint vnni=*) except NULL
cdef int usable_threads(int wanted) noexcept nogil
cdef int enter_loop(int wanted) noexcept nogil
cdef void leave_loop() noexcept nogil

# Takes in rows first .. first + count, or tasks, of some work; a pointer to a struct of the caller.
ctypedef void (*block_body)(void* work, int64_t first, int count, int thread) noexcept nogil
# Calls body for all of first .. stop, up to n_threads threads: each takes shards, which begin at multiples
# of `shard`, and goes through them a block at a time.
cdef void run_blocks(block_body body, void* work, int64_t first, int64_t stop, int64_t shard, int64_t block,
                     int n_threads) noexcept
