/* Candidates on whole numbers: exact scores, so none of the k lowest may be missing. Included
 * once per type of the scores, before check_tile.h, with T, I and N(name) defined. */

static int N(ascending)(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* score is (n, columns); packed, panels as for assign. */
static void N(check_select)(const tw_tile_kernels *t, const double *score, int n, int columns, const T *packed,
                            int n_tiles, int depth, int depth_block, const T *panels, int n_panels, int vectors,
                            int per_call, int k) {
    const int rows = n_tiles * t->tile_rows, lanes = t->vector_bytes / (int)sizeof(T), width = vectors * lanes;
    const int room = columns + per_call * width;
    tw_near near = {.k = k, .room = room, .stride = (room + per_call * width + lanes + 15) / 16 * 16};
    T *scores = buffer((size_t)rows * near.stride * sizeof *scores), *limits = buffer((size_t)rows * sizeof *limits);
    I *indices = buffer((size_t)rows * near.stride * sizeof *indices);
    T *norms = buffer((size_t)rows * sizeof *norms), *scratch = buffer((size_t)per_call * t->tile_rows * width * sizeof *scratch);
    double *sorted = buffer((size_t)columns * sizeof *sorted);
    near.scores = scores, near.indices = indices, near.limits = limits, near.norms = norms;
    near.counts = buffer((size_t)rows * sizeof *near.counts);
    near.triggers = buffer((size_t)rows * sizeof *near.triggers);
    for (int r = 0; r < rows; r++) {
        limits[r] = r < n ? (T)3e38 : (T)-INFINITY;
        near.counts[r] = 0;
        near.triggers[r] = k + 1 + r % 5;
        norms[r] = 0;
    }
    for (int panel = 0; panel < n_panels; panel += per_call) {
        const int count = n_panels - panel < per_call ? n_panels - panel : per_call;
        const int next = t->N(select)(packed, n_tiles, 0, depth, depth_block, panels + (size_t)panel * (depth + 1) * width,
                                      count, vectors, panel * width, &near, scratch);
        CHECK(next == n_tiles, "tile %d of %d", next, n_tiles);
    }
    for (int r = 0; r < rows; r++) {
        t->N(compact)(&near, r);
        CHECK(r < n || near.counts[r] == 0, "row %d", r);
        if (r >= n) continue;
        for (int j = 0; j < columns; j++) sorted[j] = score[(size_t)r * columns + j];
        qsort(sorted, (size_t)columns, sizeof *sorted, N(ascending));
        const double kth = sorted[k <= columns ? k - 1 : columns - 1];
        int next = 0, wrong = 0;
        for (int j = 0; j < columns; j++) {
            const int here = next < near.counts[r] && indices[r * near.stride + next] == j;
            if (here) wrong += (double)scores[r * near.stride + next++] != score[(size_t)r * columns + j];
            wrong += !here && score[(size_t)r * columns + j] <= kth;
        }
        CHECK(!wrong && next == near.counts[r], "select: k %d of %d, depth %d, row %d: %d wrong, %d of %d in order", k,
              columns, depth, r, wrong, next, near.counts[r]);
    }
    free(scores), free(limits), free(indices), free(norms), free(scratch), free(sorted);
    free(near.counts), free(near.triggers);
}
