from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint16_t


cdef extern from "c/tw_kernels.h" nogil:
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
        int (*open_rows)(int, int64_t, const int32_t*, float*, float*, const float*, float,
                         float, int32_t, int64_t*) noexcept nogil
        int (*plausible)(const float*, const float*, ptrdiff_t, int, int, double, int*) noexcept nogil
        void (*narrow)(const double*, const double*, int, float*) noexcept nogil
        double (*multiply_adds_f4)(long) noexcept nogil
        double (*multiply_adds_f8)(long) noexcept nogil

    enum:
        TW_LANES_DEPTH

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
        void (*accumulate_f4)(const float*, const double*, double, int, double*) noexcept nogil
        void (*distances_picked_f8)(const double*, const double*, ptrdiff_t, const int*, int, int,
                                    double*) noexcept nogil
        void (*accumulate_f8)(const double*, const double*, double, int, double*) noexcept nogil
        void (*moments_f4)(const float* const*, int, int, double*, double*, double*) noexcept nogil
        void (*moments_f8)(const double* const*, int, int, double*, double*, double*) noexcept nogil
        int (*near_rows)(int, int64_t, const int32_t*, const double*, const double*, int64_t*) noexcept nogil
        void (*add_gains)(int, int, const double*, const double*, const double*, double*, uint16_t*) noexcept nogil


cdef const tw_tile_kernels* tile_kernels(str isa) except NULL
cdef const tw_exact_kernels* exact_kernels(str isa) except NULL
cdef int usable_threads(int wanted) noexcept nogil
cdef int enter_loop(int wanted) noexcept nogil
cdef void leave_loop() noexcept nogil
