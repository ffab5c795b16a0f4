/* What enters and leaves the walk of tw_pair_walk.h: panels turned over, results stored. Included once
 * per type, behind F(covers), F(finish) and F(finish_products).
 */

/* A cache line of each row at a time. */
static void F(pack)(int count, int depth, const T *rows, ptrdiff_t step, const T *origin, T *panels, T *norms) {
    const int vectors = (count + LANES - 1) / LANES;
    for (int first = 0; first < count; first += LANES)
        for (int start = 0; start < depth; start += 16) {
            const int some = depth - start < 16 ? depth - start : 16;
            T *restrict to = F(panel)(panels, vectors, depth, first / LANES, start);
            for (int i = 0; i < LANES; i++) {
                const T *x = rows + (first + i) * step + start;
                if (first + i >= count)
                    for (int l = 0; l < some; l++) to[l * LANES + i] = 0;
                else if (origin)
                    for (int l = 0; l < some; l++) to[l * LANES + i] = F(centred)(x[l], origin[start + l]);
                else
                    for (int l = 0; l < some; l++) to[l * LANES + i] = x[l];
            }
        }
    if (!origin) return;
    for (int r = 0; r < count; r++) norms[r] = F(norm)(rows + r * step, origin, depth);
    for (int r = count; r % LANES; r++) norms[r] = 1;
}

/* `narrow` (n_columns) is room for results that are stored as float32. */
static void F(store)(const tw_pair_job *job, ptrdiff_t row, const T *values, float *narrow) {
    const ptrdiff_t at = row * job->out_step, count = job->n_columns;
    const void *from = values;
    if (sizeof(T) == 8 && !job->out_double) {
        for (int j = 0; j < count; j++) narrow[j] = (float)values[j];
        from = narrow;
    }
    const ptrdiff_t item = job->out_double ? 8 : 4;
    store_bytes(job->streaming, (char *)job->out + at * item, from, count * item);
}

static void F(fill)(const tw_pair_job *job) {
    const T *x = job->rows;
    const ptrdiff_t step = (job->n_columns + LANES - 1) / LANES * LANES;
    T *const scratch = job->scratch;
    for (int first = 0; first < job->n_rows; first += job->group) {
        const int count = job->n_rows - first < job->group ? job->n_rows - first : job->group;
        (job->origin ? F(cover_products) : F(covers)[job->kind])(job, x + first * job->row_step, count);
        for (int r = 0; r < count; r++) {
            T *row = scratch + r * step;
            if (job->origin)
                F(finish_products)(job, x + (first + r) * job->row_step, row);
            else
                F(finish)(job, x + (first + r) * job->row_step, row);
            if (!job->turned) F(store)(job, first + r, row, (float *)(scratch + job->group * step));
        }
        if (!job->turned) continue;
        for (int j = 0; j < job->n_columns; j++) {
            const ptrdiff_t at = j * job->out_step + first;
            if (job->out_double)
                for (int r = 0; r < count; r++) ((double *)job->out)[at + r] = (double)scratch[r * step + j];
            else
                for (int r = 0; r < count; r++) ((float *)job->out)[at + r] = (float)scratch[r * step + j];
        }
    }
#if defined(__SSE2__)
    /* What went past the caches is seen by other threads after this. */
    if (job->streaming) _mm_sfence();
#endif
}
