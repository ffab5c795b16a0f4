/* Where packed values stand, and their norms. Included once per pair of types with S, T, W and
 * N(name) defined. */

static void N(check_pack)(const tw_tile_kernels *t) {
    const int lanes = t->vector_bytes / (int)sizeof(T);
    const W scale = (W)0.25;
    for (int d = 0; d < N_DEPTHS; d++)
        for (int n_rows = 1; n_rows <= 2 * t->tile_rows + 1; n_rows += 4) {
            const int depth = DEPTHS[d], segments = (depth + lanes - 1) / lanes;
            const int tile = t->tile_rows, tiles = (n_rows + tile - 1) / tile;
            const int width = t->row_panel_vectors * lanes, row_panels = (n_rows + width - 1) / width;
            const size_t tiled = (size_t)tiles * tile * segments * lanes;
            const size_t turned = (size_t)row_panels * width * depth;
            const S **rows = buffer((size_t)n_rows * sizeof *rows);
            W *origin = buffer((size_t)depth * sizeof *origin);
            T *packed = buffer(tiled * sizeof *packed), *in_lanes = buffer(turned * sizeof *in_lanes);
            /* whole row panels of norms: they are written a vector at a time */
            T *norms = buffer((size_t)n_rows * sizeof *norms), *other = buffer((size_t)row_panels * width * sizeof *other);
            for (int l = 0; l < depth; l++) origin[l] = (W)uniform();
            for (int r = 0; r < n_rows; r++) {
                S *x = buffer((size_t)depth * sizeof *x);
                for (int l = 0; l < depth; l++) x[l] = (S)(uniform() * 8);
                rows[r] = x;
            }
            t->N(pack)(n_rows, depth, rows, origin, scale, packed, lanes, tile * lanes, tile,
                       (ptrdiff_t)segments * tile * lanes, norms);
            t->N(pack_lanes)(n_rows, depth, rows, origin, scale, in_lanes, other);
            for (int r = 0; r < n_rows; r++) {
                const T *from = packed + (size_t)(r / tile) * segments * tile * lanes + r % tile * lanes;
                double norm = 0;
                for (int l = 0; l < segments * lanes; l++) {
                    const T value = l < depth ? (T)(((W)rows[r][l] - origin[l]) * scale) : 0;
                    norm += (double)value * (double)value;
                    CHECK(from[(l / lanes * tile) * lanes + l % lanes] == value, "row %d, column %d", r, l);
                    if (l < depth)
                        CHECK(in_lanes[(size_t)(r / width) * width * depth + (size_t)l * width + r % width] == value,
                              "row %d, column %d", r, l);
                }
                CHECK(fabs((double)norms[r] - norm) <= 1e-5 * norm, "depth %d, row %d", depth, r);
                CHECK(fabs((double)other[r] - norm) <= 1e-5 * norm, "depth %d, row %d", depth, r);
            }
            /* one row after another, as a matrix product wants them */
            T *plain = buffer((size_t)n_rows * segments * lanes * sizeof *plain);
            t->N(pack)(n_rows, depth, rows, origin, scale, plain, segments * lanes, lanes, n_rows, 0, norms);
            for (int r = 0; r < n_rows; r++)
                for (int l = 0; l < segments * lanes; l++)
                    CHECK(plain[(size_t)r * segments * lanes + l] ==
                              (l < depth ? (T)(((W)rows[r][l] - origin[l]) * scale) : 0),
                          "row %d, column %d", r, l);
            for (int r = 0; r < n_rows; r++) free((void *)rows[r]);
            free(rows), free(origin), free(packed), free(in_lanes), free(norms), free(other), free(plain);
        }
}
