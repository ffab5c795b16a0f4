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
CHECK_PIECE(double, f8, 1, p->pack_f8(m, depth, y, depth, NULL, panels, NULL))

/* Squares from norms and products around an origin, in the promised order. */
static double plain_product(const double *x, const double *y, const double *o, int depth) {
    double all = 0;
    for (int start = 0; start < depth; start += TW_PAIR_CHAIN) {
        double sum = 0;
        for (int l = start; l < depth && l < start + TW_PAIR_CHAIN; l++) sum = fma(x[l] - o[l], y[l] - o[l], sum);
        all = start == 0 ? sum : all + sum;
    }
    return all;
}

static double plain_norm(const double *x, const double *o, int depth) {
    double all[8] = {0};
    int l = 0;
    while (l + 32 <= depth) {
        double sum[32] = {0};
        for (const int stop = l + 128; l + 32 <= depth && l < stop; l += 32)
            for (int i = 0; i < 32; i++) sum[i] += (x[l + i] - o[l + i]) * (x[l + i] - o[l + i]);
        for (int i = 0; i < 8; i++) all[i] += (sum[i] + sum[8 + i]) + (sum[16 + i] + sum[24 + i]);
    }
    double rest[8] = {0};
    for (int i = 0; l < depth; l++, i++) rest[i % 8] += (x[l] - o[l]) * (x[l] - o[l]);
    for (int i = 0; i < 8; i++) all[i] += rest[i];
    return ((all[0] + all[4]) + (all[2] + all[6])) + ((all[1] + all[5]) + (all[3] + all[7]));
}

static void check_products_f8(const tw_pair_kernels *p, int n, int m, int depth, double share, int root) {
    const int lanes = p->vector_bytes / 8, width = (m + lanes - 1) / lanes * lanes, padded = (depth + 15) / 16 * 16;
    double *x = buffer((size_t)n * depth * 8), *y = buffer((size_t)m * depth * 8), *o = buffer((size_t)depth * 8);
    double *panels = buffer((size_t)width * depth * 8), *norms = buffer((size_t)width * 8);
    double *scratch = buffer((size_t)(TW_PAIR_TILE + 1) * width * 8), *out = buffer((size_t)n * m * 8);
    double *packed = buffer((size_t)TW_PAIR_TILE * padded * 8);
    for (int i = 0; i < n * depth; i++) x[i] = uniform() - 0.5;
    for (int i = 0; i < m * depth; i++) y[i] = uniform() - 0.5;
    for (int l = 0; l < depth; l++) o[l] = uniform() - 0.5;
    p->pack_f8(m, depth, y, depth, o, panels, norms);
    const tw_pair_job job = {
        .kind = TW_SQUARES, .finish = root ? TW_ROOT : TW_AS_IT_IS, .depth = depth, .n_rows = n, .n_columns = m,
        .group = TW_PAIR_TILE, .rows = x, .row_step = depth, .others = y, .other_step = depth, .panels = panels,
        .origin = o, .trusted = share, .norms = norms, .scratch = scratch, .packed = packed, .out = out,
        .out_step = m, .out_double = 1,
    };
    p->fill_f8(&job);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) {
            const double *a = x + i * depth, *b = y + j * depth;
            const double both = plain_norm(a, o, depth) + plain_norm(b, o, depth);
            double wanted = fma(-2, plain_product(a, b, o, depth), both);
            if (!(wanted >= share * both && wanted >= 0x1p-500)) wanted = plain_f8(TW_SQUARES, a, b, depth);
            if (root) wanted = sqrt(wanted);
            CHECK(out[i * m + j] == wanted, "products %d x %d x %d", n, m, depth);
        }
    free(x), free(y), free(o), free(panels), free(norms), free(scratch), free(out), free(packed);
}

/* Every float32 between 1 and 4, at both ends of the range and in the middle, and what is special. */
static void check_roots_f4(const tw_pair_kernels *p) {
    enum { N = 4096 };
    float *in = buffer(N * 4), *out = buffer(N * 4);
    const float scales[] = {1, 0x1p-100f, 0x1p-80f, 0x1p124f, 0x1p-146f};
    for (int s = 0; s < 5; s++)
        for (uint32_t start = 0; start < 1u << 24; start += N) {
            for (uint32_t i = 0; i < N; i++) {
                const uint32_t bits = 0x3f800000u + start + i;
                memcpy(in + i, &bits, 4);
                in[i] *= scales[s];
            }
            /* Both ways of taking the root see every number. */
            for (int turn = 0; turn < 2; turn++) {
                const int lanes = p->vector_bytes / 4, first = turn * lanes;
                p->roots_f4(N - first, in + first, out + first);
                for (int i = first; i < N; i++)
                    if (out[i] != sqrtf(in[i])) CHECK(0, "root of %a", (double)in[i]);
            }
        }
    const float special[] = {0, -0.0f, INFINITY, NAN, -1, 0x1p-149f, 0x1p-126f, 0x1.fffffep127f};
    for (int k = 0; k < 8; k++)
        for (int at = 0; at < 64; at++) {
            for (int i = 0; i < 64; i++) in[i] = 2;
            in[at] = special[k];
            p->roots_f4(64, in, out);
            for (int i = 0; i < 64; i++) {
                const float wanted = sqrtf(in[i]);
                CHECK(memcmp(out + i, &wanted, 4) == 0 || (wanted != wanted && out[i] != out[i]), "root of %a",
                      (double)in[i]);
            }
        }
    free(in), free(out);
}

/* The numbers whose roots are closest to halfway between two float64: a = m^2 - r for odd m
 * and small r, where m^2 = r modulo 2^54 or 2^55, scaled. Found bit by bit. */
static int halfway(double *found, int room) {
    int n = 0;
    for (int power = 54; power <= 55; power++)
        for (int r = -199; r <= 199; r += 2) {
            if ((r & 7) != 1) continue;
            const uint64_t mask = (1ull << power) - 1, wanted = (uint64_t)(int64_t)r & mask;
            uint64_t root = 1;
            /* Squares of odd numbers that agree in k bits of the number agree in k + 1 of the square. */
            for (int k = 3; k < power; k++)
                if (((root * root ^ wanted) >> k) & 1) root += 1ull << (k - 1);
            const uint64_t roots[] = {root, -root, root + (1ull << (power - 1)), (1ull << (power - 1)) - root};
            for (int i = 0; i < 4; i++)
                if (n < room) {
                    const uint64_t m = roots[i] & mask;
                    const uint64_t a = (uint64_t)(((unsigned __int128)m * m - (unsigned __int128)r) >> power);
                    if (m >> 53 == 1 && a >> 52 == 1) found[n++] = ldexp((double)a, power - 54);
                }
        }
    return n;
}

static void check_roots_f8(const tw_pair_kernels *p) {
    enum { N = 4096 };
    double *in = buffer(N * 8), *out = buffer(N * 8);
    const int hard = halfway(in, N);
    CHECK(hard > 60, "only %d hard cases", hard);
    for (int i = hard; i < N; i++) in[i] = 3;
    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < N && round > 3; i++) {
            /* Random numbers, and squares of numbers of 53 bits, as they round. */
            const double x = 1 + uniform();
            in[i] = round & 1 ? x * x : ldexp(x, whole(-890, 1022));
        }
        for (int turn = 0; turn < 2; turn++) {
            const int first = turn * (p->vector_bytes / 8);
            p->roots_f8(N - first, in + first, out + first);
            for (int i = first; i < N; i++) CHECK(out[i] == sqrt(in[i]), "root of %a", in[i]);
        }
        if (round < 2)
            for (int i = 0; i < N; i++) in[i] = ldexp(in[i], round ? 900 : -900);
    }
    const double special[] = {0, -0.0, INFINITY, NAN, -1, 0x1p-1074, 0x1p-1022, 0x1.fffffffffffffp1023};
    for (int k = 0; k < 8; k++)
        for (int at = 0; at < 64; at++) {
            for (int i = 0; i < 64; i++) in[i] = 2;
            in[at] = special[k];
            p->roots_f8(64, in, out);
            for (int i = 0; i < 64; i++) {
                const double wanted = sqrt(in[i]);
                CHECK(memcmp(out + i, &wanted, 8) == 0 || (wanted != wanted && out[i] != out[i]), "root of %a", in[i]);
            }
        }
    free(in), free(out);
}

static void check_pair(const tw_pair_kernels *p) {
    check_roots_f4(p);
    check_roots_f8(p);
    for (int d = 0; d < N_DEPTHS; d++)
        for (int round = 0; round < 4; round++) {
            const int n = whole(1, 30), m = whole(1, 70);
            for (int kind = TW_SQUARES; kind <= TW_LARGEST; kind++) {
                check_piece_f4(p, kind, n, m, DEPTHS[d], round & 1, round == 2);
                check_piece_f8(p, kind, n, m, DEPTHS[d], round & 1, round == 2);
            }
            if (DEPTHS[d]) check_products_f8(p, n, m, DEPTHS[d], round * 0.5, round & 1);
        }
}
