/* What becomes of the scores of tw_split.c: panels that are finished are looked at while the next
 * ones are multiplied. Included once per instruction set. */

/* Scores of one or two panels that are finished, each (32, WIDTH), of one group of rows. */
typedef struct {
    const float *scores;
    int next; /* the row to go on with */
    int group, panel, panels;
} batch;

/* Looks at the rows up to `stop` of a batch, while the next scores are multiplied. */
typedef void (*consumer)(const void *what, const batch *b, int stop);

TW_INLINE void consume(const consumer look, const void *what, batch *b, int count) {
    if (b->next == ROWS) return;
    const int stop = b->next + count < ROWS ? b->next + count : ROWS;
    look(what, b, stop);
    b->next = stop;
}

TW_INLINE void fold_some(const folding_f4 *f, const batch *b, const int panels, const int fresh, int stop) {
    const ptrdiff_t start = (ptrdiff_t)b->group * ROWS * LANES;
    float *best = f->best + start, *second = f->second + start;
    int32_t *index = f->ordinal + start;
    tw_i4 which[2 * VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < panels * VECTORS; v++) which[v] = splat_index_f4(f->first + b->panel * VECTORS + v);
#pragma GCC unroll 2
    for (int r = b->next; r < stop; r++) {
        const float *row = b->scores + r * WIDTH;
        tw_f4 low = splat_f4(__builtin_inff()), next = low;
        tw_i4 i = splat_index_f4(-1);
        if (!fresh) {
            low = *(tw_f4 *)(best + r * LANES), next = *(tw_f4 *)(second + r * LANES);
            i = *(tw_i4 *)(index + r * LANES);
        }
#pragma GCC unroll 4
        for (int v = 0; v < panels * VECTORS; v++)
            fold_f4(*(const tw_f4 *)(row + v / VECTORS * SCORES + v % VECTORS * LANES), which[v], &low, &next, &i);
        *(tw_f4 *)(best + r * LANES) = low;
        *(tw_f4 *)(second + r * LANES) = next;
        *(tw_i4 *)(index + r * LANES) = i;
    }
}

/* Nothing was folded before the first panel of all. */
static __attribute__((noinline)) void fold_rows(const void *what, const batch *b, int stop) {
    const folding_f4 *f = what;
    const int fresh = f->first + b->panel == 0;
    if (b->panels == 2 && !fresh)
        fold_some(f, b, 2, 0, stop);
    else if (b->panels == 2)
        fold_some(f, b, 2, 1, stop);
    else if (!fresh)
        fold_some(f, b, 1, 0, stop);
    else
        fold_some(f, b, 1, 1, stop);
}

/* One panel at a time: the limits of a row follow what it keeps. */
TW_INLINE void push_rows(const void *what, const batch *b, int stop) {
    const pushing_f4 *p = what;
    const tw_near *near = p->near;
    const int32_t first = p->first + b->panel * WIDTH;
    const float *limits = (const float *)near->limits;
    const float *scores = b->scores + b->next * WIDTH;
    tw_i4 lane = {0};
    for (int l = 0; l < LANES; l++) lane[l] = l;
    for (int r = b->group * ROWS + b->next; r < b->group * ROWS + stop; r++, scores += WIDTH) {
        tw_f4 s[VECTORS], least;
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            s[v] = *(const tw_f4 *)(scores + v * LANES);
            least = v ? min_f4(s[v], least) : s[v];
        }
        const tw_f4 limit = splat_f4(limits[r]);
        if (__builtin_expect(!not_above_f4(least, limit), 1)) continue;
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            push_f4(near, r, s[v], lane + (first + v * LANES), not_above_f4(s[v], limit));
        if (near->counts[r] >= near->triggers[r]) compact_f4(near, r);
    }
}
