/* Packing: out = (x - origin) * scale in the type of the scores, with squared norms.
 * Included once per pair (S of the data, T of the scores) with S, T, P(name) and
 * W, the wider of the two, defined, which it takes away again. scale is a power of two: it only
 * moves exponents.
 */

#define LANES ((int)(TW_VECTOR_BYTES / sizeof(T)))

/* Element (r, l) goes to tile r / tile_rows, at (r % tile_rows) * row_step +
 * (l / LANES) * segment_step + l % LANES. The last segment is filled with zeros. */
static void P(pack)(int n_rows, int depth, const S *const *rows, const W *origin, W scale,
                    T *out, ptrdiff_t row_step, ptrdiff_t segment_step, int tile_rows,
                    ptrdiff_t tile_step, T *norms) {
    for (int r = 0; r < n_rows; r++) {
        const S *restrict x = rows[r];
        T *restrict to = out + (r / tile_rows) * tile_step + (r % tile_rows) * row_step;
        T sum[LANES];
        for (int l = 0; l < LANES; l++) sum[l] = 0;
        int start = 0;
        for (; start + LANES <= depth; start += LANES, to += segment_step)
            for (int l = 0; l < LANES; l++) {
                const T value = (T)(((W)x[start + l] - origin[start + l]) * scale);
                to[l] = value;
                sum[l] += value * value;
            }
        if (start < depth)
            for (int l = 0; l < LANES; l++) {
                const T value = start + l < depth ? (T)(((W)x[start + l] - origin[start + l]) * scale) : 0;
                to[l] = value;
                sum[l] += value * value;
            }
        T norm = 0;
        for (int l = 0; l < LANES; l++) norm += sum[l];
        norms[r] = norm;
    }
}

#ifdef TURNED
/* LANES rows, side by side from `to` on, a square of LANES x LANES at a time turned over in
 * registers; rows from count on are zeros. Returns the squared norms. PLAIN: data and scores
 * are of one type, so that no conversion stands between them. */
TW_INLINE tw_f4 P(turn)(int count, int depth, const S *const *rows, const W *origin, W scale, T *to, int width) {
    tw_f4 norm = {0};
    for (int start = 0; start < depth; start += LANES) {
        const int columns = depth - start < LANES ? depth - start : LANES;
        tw_f4 square[LANES], part_norm = {0};
        for (int r = 0; r < count; r++) {
            const S *x = rows[r] + start;
#ifdef PLAIN
            if (columns == LANES) {
                square[r] = (*(const tw_f4u *)x - *(const tw_f4u *)(origin + start)) * scale;
                continue;
            }
#endif
            T part[LANES] __attribute__((aligned(TW_VECTOR_BYTES))) = {0};
            if (columns == LANES)
                for (int l = 0; l < LANES; l++) part[l] = (T)(((W)x[l] - origin[start + l]) * scale);
            else
                for (int l = 0; l < columns; l++) part[l] = (T)(((W)x[l] - origin[start + l]) * scale);
            square[r] = *(const tw_f4 *)part;
        }
        for (int r = count; r < LANES; r++) square[r] = (tw_f4){0};
        transpose_f4(square);
        for (int l = 0; l < columns; l++) {
            *(tw_f4 *)(to + (ptrdiff_t)(start + l) * width) = square[l];
            part_norm += square[l] * square[l];
        }
        norm += part_norm;
    }
    return norm;
}
#endif

/* Element (r, l) goes to row panel r / width, at l * width + r % width. Turning over pays from rows
 * of half a vector on. norms has room for whole vectors. */
static void P(pack_lanes)(int n_rows, int depth, const S *const *rows, const W *origin, W scale,
                          T *out, T *norms) {
    const int width = TW_ROW_PANEL_VECTORS * LANES;
#ifdef TURNED
    if (2 * depth >= LANES) {
        for (int first = 0; first < n_rows; first += LANES)
            *(tw_f4 *)(norms + first) =
                P(turn)(n_rows - first < LANES ? n_rows - first : LANES, depth, rows + first, origin, scale,
                        out + (ptrdiff_t)(first / width) * width * depth + first % width, width);
        return;
    }
#endif
    for (int r = 0; r < n_rows; r++) {
        const S *restrict x = rows[r];
        T *restrict to = out + (ptrdiff_t)(r / width) * width * depth + r % width;
        T norm = 0;
        for (int l = 0; l < depth; l++) {
            const T value = (T)(((W)x[l] - origin[l]) * scale);
            to[(ptrdiff_t)l * width] = value;
            norm += value * value;
        }
        norms[r] = norm;
    }
}

/* One panel of `width` rows: half squared norms, then depth rows of negated coordinates. Rows
 * that do not exist are infinitely far. A half norm is a sum of sums of LANES squares. */
static void P(pack_panel)(int n_rows, int depth, const S *const *rows, const W *origin, W scale, T *out, int width) {
    T *to = out + width;
#ifdef TURNED
    for (int first = 0; first < width; first += LANES) {
        const int count = n_rows < first ? 0 : n_rows - first < LANES ? n_rows - first : LANES;
        *(tw_f4 *)(out + first) = P(turn)(count, depth, rows + first, origin, -scale, to + first, width) * (T)0.5;
    }
#else
    for (int r = 0; r < width; r++) {
        T norm = 0;
        for (int start = 0; start < depth; start += LANES) {
            const int stop = depth - start < LANES ? depth : start + LANES;
            T part = 0;
            for (int l = start; l < stop; l++) {
                const T value = r < n_rows ? (T)(((W)rows[r][l] - origin[l]) * -scale) : 0;
                to[(ptrdiff_t)l * width + r] = value;
                part += value * value;
            }
            norm += part;
        }
        out[r] = norm * (T)0.5;
    }
#endif
    for (int r = n_rows; r < width; r++) out[r] = (T)__builtin_inf();
}

#undef LANES
#undef S
#undef T
#undef W
#undef P
#undef PLAIN
