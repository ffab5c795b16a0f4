/* The parts of the screen that read rows. Included once per type of the data with S, P(name), LESS and
 * VECTOR defined: columns of a row, less the origin if doubles, in float. */

/* turned is (width, 16): columns start on of sixteen rows; step is how many items apart they stand, or 0. */
TW_INLINE void P(turn_rows)(const S *const *x, ptrdiff_t step, int start, int width, const double *origin,
                            float *turned) {
    (void)origin;
    int l = 0;
    for (; l + N <= width; l += N)
#pragma GCC unroll 4
        for (int p = 0; p < V; p++) {
            tw_f4 v[N];
#pragma GCC unroll 16
            for (int r = 0; r < N; r++) v[r] = VECTOR(x[p * N + r], start + l);
            turn_over(v);
#pragma GCC unroll 16
            for (int i = 0; i < N; i++) *(tw_f4 *)(turned + (l + i) * 16 + p * N) = v[i];
        }
#if defined(__AVX512F__)
    if (step > 0 && step < 1 << 20) {
        const __m512i items = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                                 _mm512_set1_epi32((int)step));
        for (; l < width; l++) *(tw_f4 *)(turned + l * 16) = P(gather)(x[0], items, start + l, origin);
    }
#else
    (void)step;
#endif
    for (int r = 0; r < 16 && l < width; r++)
        for (int i = l; i < width; i++) turned[i * 16 + r] = LESS(x[r], start + i);
}

/* masks (candidates, groups), of one group: where a sum of squared differences in float is not above the limit. */
TW_INLINE void P(screen_group)(const S *const *x, ptrdiff_t step, const float *limits, const tw_rough *trials,
                               uint32_t rows, uint16_t *masks) {
    float turned[COLUMNS * 16] __attribute__((aligned(64)));
    tw_f4 sums[16 * V];
    for (int i = 0; i < trials->count * V; i++) sums[i] = (tw_f4){0};
    for (int start = 0; start < trials->depth; start += COLUMNS) {
        const int width = trials->depth - start < COLUMNS ? trials->depth - start : COLUMNS;
        P(turn_rows)(x, step, start, width, trials->origin, turned);
        add_all_squares(trials->count, turned, width, trials->values + start, trials->step, sums);
    }
    for (int j = 0; j < trials->count; j++) {
        uint32_t bits = 0;
        for (int p = 0; p < V; p++) bits |= unless_above(sums[j * V + p], *(const tw_f4u *)(limits + p * N)) << p * N;
        masks[j * TW_SCREEN_GROUPS] = (uint16_t)(bits & rows);
    }
}

/* Rows wherever they are; those of the next group are fetched meanwhile. limits is padded to whole groups. */
static void P(lanes)(int n_rows, const S *const *x, const float *limits, const tw_rough *trials, uint16_t *masks) {
    const int depth = trials->depth;
    const size_t bytes = depth < 16 ? 0 : (size_t)(depth < 512 ? depth : 512) * sizeof(S);
    for (int first = 0; first < n_rows; first += 16) {
        const S *rows[16];
        const int count = n_rows - first < 16 ? n_rows - first : 16;
        for (int r = 0; r < 16; r++) rows[r] = x[first + (r < count ? r : count - 1)];
        for (int r = 16; r < 32 && first + r < n_rows; r++)
            for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)x[first + r] + at);
        P(screen_group)(rows, 0, limits + first, trials, (1u << count) - 1, masks + first / 16);
    }
}

/* Rows one after another, step items apart; those that are not near do not count. */
static void P(lanes_here)(int n_rows, const S *x, ptrdiff_t step, const uint16_t *near, const float *limits,
                          const tw_rough *trials, uint16_t *masks) {
    for (int first = 0; first < n_rows; first += 16) {
        const S *rows[16];
        const int count = n_rows - first < 16 ? n_rows - first : 16;
        if (!near[first / 16]) {
            for (int j = 0; j < trials->count; j++) masks[j * TW_SCREEN_GROUPS + first / 16] = 0;
            continue;
        }
        for (int r = 0; r < 16; r++) rows[r] = x + (first + (r < count ? r : count - 1)) * step;
        /* Four groups ahead; what lies behind the last row is not read. */
        for (ptrdiff_t at = 0; at < 16 * step * (ptrdiff_t)sizeof(S); at += 64)
            __builtin_prefetch((const char *)rows[0] + 64 * step * (ptrdiff_t)sizeof(S) + at);
        P(screen_group)(rows, count == 16 ? step : 0, limits + first, trials, near[first / 16], masks + first / 16);
    }
}

/* N columns of a row from l on, less the mean and scaled. */
TW_INLINE tw_f4 P(columns)(const S *x, const S *mean, S scale, int depth, int l) {
    if (l + N <= depth) return COLUMNS_OF(x + l, mean + l, scale);
    float part[N] __attribute__((aligned(TW_VECTOR_BYTES))) = {0};
    for (int i = 0; i < depth - l; i++) part[i] = (float)((x[l + i] - mean[l + i]) * scale);
    return *(const tw_f4 *)part;
}

TW_INLINE float P(largest)(const S *restrict x, const S *restrict mean, S scale, int depth) {
    tw_f4 most = {0}, other = {0};
    for (int l = 0; l < depth; l += 2 * N) {
        const tw_f4 v = P(columns)(x, mean, scale, depth, l);
        most = max_f4(max_f4(v, -v), most);
        if (l + N < depth) {
            const tw_f4 w = P(columns)(x, mean, scale, depth, l + N);
            other = max_f4(max_f4(w, -w), other);
        }
    }
    most = max_f4(other, most);
    return -lowest_f4(-most)[0];
}

/* One row, less the mean and scaled, as whole numbers of `unit` up to `most`, plus 128; returns a bound of
 * what is left, and their squared norm. In units a column errs by three roundings before it becomes whole;
 * sums have up to 512 terms in float, and squares of whole numbers stay exact. */
TW_INLINE double P(copy_row)(const S *restrict x, const S *restrict mean, S scale, double unit, float most, int depth,
                             uint8_t *restrict out, double *restrict norm) {
    typedef uint8_t bytes __attribute__((vector_size(N), aligned(1), may_alias));
    const float inverse = (float)(1 / unit), whole = 0x1.8p23f;
    double error = 0, square = 0;
    for (int start = 0; start < depth; start += 512 * N) {
        tw_f4 left = {0}, squares = {0};
        for (int l = start; l < depth && l < start + 512 * N; l += N) {
            const tw_f4 v = P(columns)(x, mean, scale, depth, l) * inverse;
            const tw_f4 at = max_f4(min_f4(v, all_lanes(most)), all_lanes(-most)) + whole;
            const tw_f4 q = at - whole, rest = v - q;
            left += rest * rest;
            squares += q * q;
            const bytes b = __builtin_convertvector(((tw_i4)at & 255) ^ 128, bytes);
            if (l + N <= depth)
                *(bytes *)(out + l) = b;
            else
                memcpy(out + l, &b, (size_t)(depth - l));
        }
        error += sum_lanes_f4(left);
        square += sum_lanes_i4(__builtin_convertvector(squares, tw_i4));
    }
    *norm = square;
    error = sqrt(error) * (1 + 0x1p-15);
    return unit * (error + 0x1.9p-23 * (error + sqrt(square)));
}

static void P(copy)(int n_rows, const S *const *x, const double *mean, double unit, int depth, uint8_t *out,
                    float *errors, float *halves) {
    const int steps = (depth + 3) / 4;
    int32_t words[TW_SCREEN_DEPTH / 4];
    S room[OWN_ROOM];
    const S *own = P(own_mean)(mean, depth, room);
    for (int r = 0; r < n_rows; r++) {
        double norm;
        words[steps - 1] = (int32_t)0x80808080;
        errors[r] = (float)(P(copy_row)(x[r], own, 1, unit, 127, depth, (uint8_t *)words, &norm) * (1 + 0x1p-22)) + 1e-37f;
        halves[r] = (float)(0.5 * norm * (1 - 0x1p-20));
        for (int l = 0; l < steps; l++) ((int32_t *)out)[l * 16 + r] = words[l];
    }
}

/* A group of up to sixteen rows for the first look, each in a unit of its own: that and the error, scaled, and
 * the squared norm of the copy. A row that is too large, or not finite, has an error of infinity. */
static void P(look_rows)(int n_rows, const S *const *x, const double *mean, double scale, int depth, uint8_t *out,
                         float *units, float *errors, double *squares) {
    const int steps = (depth + 3) / 4;
    int32_t words[TW_SCREEN_DEPTH / 4];
    S room[OWN_ROOM];
    const S *own = P(own_mean)(mean, depth, room);
    for (int r = 0; r < 16; r++) {
        double norm;
        units[r] = 0;
        squares[r] = 0;
        errors[r] = (float)INFINITY;
        if (r >= n_rows) continue;
        const double unit = look_unit(P(largest)(x[r], own, (S)scale, depth), 127);
        words[steps - 1] = (int32_t)0x80808080;
        const double error = P(copy_row)(x[r], own, (S)scale, unit, 127, depth, (uint8_t *)words, &norm);
        const double square = norm * (unit * unit);
        for (int l = 0; l < steps; l++) ((int32_t *)out)[l * 16 + r] = words[l];
        if (!(square < 1e28) || !(error < 1e14)) continue;
        units[r] = (float)unit;
        squares[r] = square;
        errors[r] = (float)(error * (1 + 0x1p-22)) + 1e-37f;
    }
}
