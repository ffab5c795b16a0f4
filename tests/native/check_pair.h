/* Pieces of distance matrices, bit by bit against plain loops in the promised order. */

static float plain_f4(int kind, const float *x, const float *y, int depth) {
    float all = 0;
    for (int start = 0; start < depth; start += TW_PAIR_DEPTH) {
        float sum = 0;
        for (int l = start; l < depth && l < start + TW_PAIR_DEPTH; l++) {
            const float gap = x[l] - y[l];
            if (kind == TW_SQUARES) sum = fmaf(gap, gap, sum);
            if (kind == TW_PRODUCTS) sum = fmaf(x[l], y[l], sum);
            if (kind == TW_GAPS) sum += fabsf(gap);
            if (kind == TW_LARGEST) sum = fabsf(gap) > sum ? fabsf(gap) : sum;
        }
        all = start == 0 ? sum : kind == TW_LARGEST ? (sum > all ? sum : all) : all + sum;
    }
    return all;
}

static double plain_f8(int kind, const double *x, const double *y, int depth) {
    double sum[8] = {0}, most = 0;
    for (int l = 0; l < depth; l++) {
        const double gap = x[l] - y[l];
        if (kind == TW_SQUARES) sum[l % 8] += gap * gap;
        if (kind == TW_PRODUCTS) sum[l % 8] += x[l] * y[l];
        if (kind == TW_GAPS) sum[l % 8] += fabs(gap);
        most = fabs(gap) > most ? fabs(gap) : most;
    }
    if (kind == TW_LARGEST) return most;
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

#define CHECK_PIECE(T, SUFFIX, IS_DOUBLE, PACK)                                                          \
    static void check_piece_##SUFFIX(const tw_pair_kernels *p, int kind, int n, int m, int depth,        \
                                     int streaming, int turned) {                                        \
        const int lanes = p->vector_bytes / (int)sizeof(T), width = (m + lanes - 1) / lanes * lanes;     \
        const int padded = (depth + 15) / 16 * 16;                                                       \
        T *x = buffer((size_t)n * depth * sizeof(T)), *y = buffer((size_t)m * depth * sizeof(T));        \
        T *panels = buffer((size_t)width * depth * sizeof(T));                                           \
        T *scratch = buffer((size_t)(TW_PAIR_TILE + 1) * width * sizeof(T));                             \
        T *out = buffer((size_t)n * m * sizeof(T));                                                      \
        float *packed = buffer((size_t)TW_PAIR_TILE * padded * 4);                                       \
        for (int i = 0; i < n * depth; i++) x[i] = (T)(uniform() - 0.5);                                 \
        for (int i = 0; i < m * depth; i++) y[i] = (T)(uniform() - 0.5);                                 \
        PACK;                                                                                            \
        const tw_pair_job job = {                                                                        \
            .kind = kind, .depth = depth, .n_rows = n, .n_columns = m, .group = TW_PAIR_TILE,            \
            .rows = x, .row_step = depth, .others = y, .other_step = depth, .panels = panels,            \
            .scratch = scratch, .packed = packed, .out = out, .out_step = turned ? n : m,                \
            .out_double = IS_DOUBLE, .turned = turned, .streaming = streaming,                           \
        };                                                                                               \
        p->fill_##SUFFIX(&job);                                                                          \
        for (int i = 0; i < n; i++)                                                                      \
            for (int j = 0; j < m; j++) {                                                                \
                const T found = out[turned ? j * n + i : i * m + j];                                     \
                const T wanted = plain_##SUFFIX(kind, x + i * depth, y + j * depth, depth);              \
                CHECK(found == wanted, "%s kind %d, %d x %d x %d", #SUFFIX, kind, n, m, depth);          \
            }                                                                                            \
        free(x), free(y), free(panels), free(scratch), free(out), free(packed);                          \
    }
CHECK_PIECE(float, f4, 0, p->pack_f4(m, depth, y, depth, NULL, panels, NULL))
CHECK_PIECE(double, f8, 1, p->pack_f8(m, depth, y, depth, panels))

static void check_pair(const tw_pair_kernels *p) {
    for (int d = 0; d < N_DEPTHS; d++)
        for (int round = 0; round < 4; round++) {
            const int n = whole(1, 30), m = whole(1, 70);
            for (int kind = TW_SQUARES; kind <= TW_LARGEST; kind++) {
                check_piece_f4(p, kind, n, m, DEPTHS[d], round & 1, round == 2);
                check_piece_f8(p, kind, n, m, DEPTHS[d], round & 1, round == 2);
            }
        }
}
