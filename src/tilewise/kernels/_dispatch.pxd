from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t


cdef extern from "c/tw_kernels.h" nogil:
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
        const float* drops

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
        void (*assign_f4)(const float*, int, int, int, const float*, int, int, int,
                          float*, float*, int32_t*, float*, const void* const*, int) noexcept nogil
        void (*assign_f8)(const double*, int, int, int, const double*, int, int, int,
                          double*, double*, int64_t*, double*, const void* const*, int) noexcept nogil
        void (*certify_f4)(int, const float*, const float*, const int32_t*, const float*,
                           int32_t*, float*, float*) noexcept nogil
        void (*certify_f8)(int, const double*, const double*, const int64_t*, const double*,
                           int32_t*, double*, double*) noexcept nogil
        void (*assign_lanes_f4)(const float*, int, int, const float*, int, int,
                                float*, float*, int32_t*) noexcept nogil
        void (*assign_lanes_f8)(const double*, int, int, const double*, int, int,
                                double*, double*, int64_t*) noexcept nogil
        void (*certify_lanes_f4)(int, const float*, const float*, const int32_t*,
                                 const float*, int32_t*) noexcept nogil
        void (*certify_lanes_f8)(int, const double*, const double*, const int64_t*,
                                 const double*, int32_t*) noexcept nogil
        void (*collect_f4)(int, const float* const*, const float*, int, int, const float*, int, int,
                           int32_t*, int*, int) noexcept nogil
        void (*bands_f4)(int, const float*, float, float, float, float*) noexcept nogil
        void (*renew_f4)(int, const float*, const float*, const float*, const float*, float, double,
                         float*, float*) noexcept nogil
        void (*scan_f4)(int, int, const float*, ptrdiff_t, const float*,
                        float*, float*, int32_t*) noexcept nogil
        void (*csr_scores_f4)(int, const int32_t*, const int32_t*, const float*, ptrdiff_t, const float*,
                              int, int, float*, ptrdiff_t) noexcept nogil
        void (*csr_scores_f8)(int, const int32_t*, const int32_t*, const double*, ptrdiff_t, const double*,
                              int, int, double*, ptrdiff_t) noexcept nogil
        void (*collect_f8)(int, const double* const*, const double*, int, int, const double*, int, int,
                           int32_t*, int*, int) noexcept nogil
        void (*bands_f8)(int, const double*, double, double, double, double*) noexcept nogil
        void (*renew_f8)(int, const double*, const double*, const double*, const double*, double, double,
                         float*, float*) noexcept nogil
        void (*scan_f8)(int, int, const double*, ptrdiff_t, const double*,
                        double*, double*, int64_t*) noexcept nogil
        void (*pack_f4f4)(int, int, const float* const*, const float*, float, float*,
                          ptrdiff_t, ptrdiff_t, int, ptrdiff_t, float*) noexcept nogil
        void (*pack_f4f8)(int, int, const float* const*, const double*, double, double*,
                          ptrdiff_t, ptrdiff_t, int, ptrdiff_t, double*) noexcept nogil
        void (*pack_f8f4)(int, int, const double* const*, const double*, double, float*,
                          ptrdiff_t, ptrdiff_t, int, ptrdiff_t, float*) noexcept nogil
        void (*pack_f8f8)(int, int, const double* const*, const double*, double, double*,
                          ptrdiff_t, ptrdiff_t, int, ptrdiff_t, double*) noexcept nogil
        void (*pack_lanes_f4f4)(int, int, const float* const*, const float*, float,
                                float*, float*) noexcept nogil
        void (*pack_lanes_f4f8)(int, int, const float* const*, const double*, double,
                                double*, double*) noexcept nogil
        void (*pack_lanes_f8f4)(int, int, const double* const*, const double*, double,
                                float*, float*) noexcept nogil
        void (*pack_lanes_f8f8)(int, int, const double* const*, const double*, double,
                                double*, double*) noexcept nogil
        void (*pack_panel_f4f4)(int, int, const float* const*, const float*, float, float*, int) noexcept nogil
        void (*pack_panel_f4f8)(int, int, const float* const*, const double*, double, double*, int) noexcept nogil
        void (*pack_panel_f8f4)(int, int, const double* const*, const double*, double, float*, int) noexcept nogil
        void (*pack_panel_f8f8)(int, int, const double* const*, const double*, double, double*, int) noexcept nogil
        int (*select_f4)(const float*, int, int, int, int, const float*, int, int, int32_t,
                         const tw_near*, float*) noexcept nogil
        int (*select_f8)(const double*, int, int, int, int, const double*, int, int, int64_t,
                         const tw_near*, double*) noexcept nogil
        void (*compact_f4)(const tw_near*, int) noexcept nogil
        void (*compact_f8)(const tw_near*, int) noexcept nogil
        int (*feed_f8)(const tw_near*, int, const double*, int, int64_t) noexcept nogil
        float (*extent_f4)(const float* const*, int, int, const float*) noexcept nogil
        double (*extent_f8)(const double* const*, int, int, const double*) noexcept nogil
        int (*open_rows)(int, int64_t, const int32_t*, float*, float*, const float*, float,
                         float, int32_t, int64_t*) noexcept nogil
        int (*plausible)(const float*, const float*, ptrdiff_t, int, int, double, int*) noexcept nogil
        void (*narrow)(const double*, const double*, int, float*) noexcept nogil
        double (*multiply_adds_f4)(long) noexcept nogil
        double (*multiply_adds_f8)(long) noexcept nogil

    enum:
        TW_LANES_DEPTH
        TW_FEW
        TW_FEW_ROOT
        TW_FEW_FLOAT

    ctypedef struct tw_exact_kernels:
        double (*distance_f4)(const float*, const double*, int) noexcept nogil
        double (*distance_f8)(const double*, const double*, int) noexcept nogil
        void (*distances_f4)(const float*, const double*, ptrdiff_t, int, int,
                             double*) noexcept nogil
        void (*distances_f8)(const double*, const double*, ptrdiff_t, int, int,
                             double*) noexcept nogil
        void (*distances_picked_f4)(const float*, const double*, ptrdiff_t, const int*, int, int,
                                    double*) noexcept nogil
        void (*distances_lanes_f4)(const float* const*, const double*, ptrdiff_t, int, int, double*) noexcept nogil
        void (*distances_lanes_f8)(const double* const*, const double*, ptrdiff_t, int, int, double*) noexcept nogil
        void (*between_f4)(const float*, const float* const*, int, int, double*) noexcept nogil
        void (*between_f8)(const double*, const double* const*, int, int, double*) noexcept nogil
        void (*add_row_f4)(const tw_grid*, const float*, double, int, int, int64_t*) noexcept nogil
        void (*add_row_f8)(const tw_grid*, const double*, double, int, int, int64_t*) noexcept nogil
        void (*bin_rows_f4)(const float* const*, const double*, int, int, tw_bins8*) noexcept nogil
        void (*bin_rows_f8)(const double* const*, const double*, int, int, tw_bins8*) noexcept nogil
        void (*carry_row)(const tw_grid*, int, int, int64_t*, int64_t*) noexcept nogil
        double (*average_row)(const tw_grid*, const int64_t*, const int64_t*, int, double, const double*,
                              double*) noexcept nogil
        double (*moved_by)(double, double, double, double, double) noexcept nogil
        int (*nonzeros)(const double*, int) noexcept nogil
        double (*bin_values)(tw_bins*, int, const double*, const double*) noexcept nogil
        void (*move_center)(const tw_bins8*, int, double, double, double*) noexcept nogil
        void (*distances_picked_f8)(const double*, const double*, ptrdiff_t, const int*, int, int,
                                    double*) noexcept nogil
        int (*move_by_rows_f4)(const float* const*, int, int, double, double*) noexcept nogil
        int (*move_by_rows_f8)(const double* const*, int, int, double, double*) noexcept nogil
        void (*moments_f4)(const float* const*, int, int, tw_bins8*, tw_bins8*, double*, double*) noexcept nogil
        void (*distances_pairs_f4)(const float* const*, const double* const*, int, int, double*) noexcept nogil
        void (*moments_f8)(const double* const*, int, int, tw_bins8*, tw_bins8*, double*, double*) noexcept nogil
        int (*near_rows)(int, int64_t, const int32_t*, const double*, const double*, int64_t*) noexcept nogil
        void (*add_gains)(int, int, const double*, const double*, const double*, const double*, int64_t*,
                          uint16_t*) noexcept nogil
        void (*distances_pairs_f8)(const double* const*, const double* const*, int, int, double*) noexcept nogil
        void (*csr_panels)(int, int, const int32_t*, const int32_t*, const double*, ptrdiff_t, const double*,
                           int, int, double*, ptrdiff_t) noexcept nogil
        void (*csr_index)(int, int, const int32_t*, const double*, const int32_t*, const int32_t*,
                          const double*, double*) noexcept nogil
        int (*finish_f4)(int, int, double, const double*, const double*, double, float*, uint8_t*,
                         int32_t*) noexcept nogil
        int (*finish_f8)(int, int, double, const double*, const double*, double, double*, uint8_t*,
                         int32_t*) noexcept nogil
        double (*merged)(int, int, const int32_t*, const double*, int, const int32_t*,
                         const double*) noexcept nogil
        void (*merged_four)(int, const int32_t*, const double*, const int32_t* const*, const double* const*,
                            double*) noexcept nogil
        int64_t (*not_above)(const double*, int, double) noexcept nogil
        int64_t (*collect_within)(const double*, int, double, int64_t, double*, int64_t*) noexcept nogil
        double (*squared_norm)(const double*, int) noexcept nogil
        double (*own_entries)(int, const int32_t*, const double*, double, const double*, double) noexcept nogil
        int (*closest_few)(const double*, int, int, int, int, void*, int64_t*) noexcept nogil
        double (*spread_distance)(int, const int32_t*, const double*, const double*, int) noexcept nogil
        void (*gather_scores)(int, const int32_t*, const int32_t*, const double*, const double*, ptrdiff_t, int,
                              double, double*, ptrdiff_t) noexcept nogil
        double (*measure_center)(const double*, int, double*) noexcept nogil
        void (*fade)(double*, double, double, int) noexcept nogil


cdef extern from "c/tw_pair.h" nogil:
    cdef enum:
        TW_PAIR_CHAIN
        TW_PAIR_DEPTH
        TW_PAIR_TILE
        TW_SQUARES
        TW_PRODUCTS
        TW_GAPS
        TW_LARGEST
        TW_WEIGHTED_SQUARES
        TW_WEIGHTED_GAPS
        TW_WEIGHTED_LARGEST
        TW_CANBERRA
        TW_BRAYCURTIS
        TW_UNEQUAL
        TW_KNOWN_SQUARES
        TW_WHOLE_POWERS
        TW_POWERS
        TW_AS_IT_IS
        TW_ROOT
        TW_POWER_ROOT
        TW_DIVIDED
        TW_HALF_TO_TWO

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
        void (*pack_f4)(int, int, const float*, ptrdiff_t, const float*, float*, float*) noexcept nogil
        void (*pack_f8)(int, int, const double*, ptrdiff_t, const double*, double*, double*) noexcept nogil
        void (*fill_f4)(const tw_pair_job*) noexcept nogil
        void (*fill_f8)(const tw_pair_job*) noexcept nogil
        void (*normalize_f8)(int, int, double*, ptrdiff_t, char*) noexcept nogil


cdef extern from "c/tw_split.h" nogil:
    enum:
        TW_SPLIT_ROWS
        TW_SPLIT_STEP

    int tw_split_parts(int products)

    ctypedef struct tw_split_kernels:
        void (*pack_f4)(int, int, int, const float* const*, const float*, float, uint16_t*, float*, float*,
                        float*) noexcept nogil
        void (*pack_f8)(int, int, int, const double* const*, const double*, double, uint16_t*, float*, float*,
                        float*) noexcept nogil
        void (*pack_panel)(const float*, int, int, uint16_t*, float*, float*, float*) noexcept nogil
        void (*drops)(int, const float*, const float*, const float*, float, float, float*) noexcept nogil
        void (*assign)(const uint16_t*, int, int, int, int, const uint16_t*, int, int, float*, float*, int32_t*,
                       float*, const void* const*, int) noexcept nogil
        int (*select)(const uint16_t*, int, int, int, int, int, const uint16_t*, int, int32_t, const tw_near*,
                      float*) noexcept nogil
        void (*multiply_tiles)(long) noexcept nogil


cdef const tw_tile_kernels* tile_kernels(str isa) except NULL
cdef const tw_exact_kernels* exact_kernels(str isa) except NULL
cdef const tw_pair_kernels* pair_kernels(str isa) except NULL
cdef const tw_split_kernels* split_kernels(str isa) except NULL
cdef int usable_threads(int wanted) noexcept nogil
cdef int enter_loop(int wanted) noexcept nogil
cdef void leave_loop() noexcept nogil
