/* The cosine distance of two float32 rows in float64, for those that are nearly parallel too.
 *
 * What y has at right angles to x is r = y - t x; with one rounding per element it is known to
 * full accuracy however small it is, and 1 - cos = s / (1 + sqrt(1 - s)) with s = |r|^2 / |y|^2
 * does not cancel. That t is rounded is made good by a second step, c. */

typedef union {
    tw_eight all;
    tw_f8 part[8 / LANES_F8];
} tw_eight_parts;

/* y - t x, rounded once. */
TW_INLINE tw_eight less_eight(tw_eight y, double t, tw_eight x) {
    tw_eight_parts a = {y}, b = {x};
#pragma GCC unroll 4
    for (int i = 0; i < 8 / LANES_F8; i++) a.part[i] = fma_f8(splat_f8(-t), b.part[i], a.part[i]);
    return a.all;
}

/* Both orders of two rows give the same bits: of rows as long as each other, the one that is
 * smaller where they first differ comes first. */
static int comes_second(const float *x, const float *y, int depth) {
    for (int l = 0; l < depth; l++)
        if (x[l] != y[l]) return x[l] > y[l];
    return 0;
}

static double cosine_f4(const float *x, const float *y, int depth) {
    tw_eight sum_xx = {0}, sum_yy = {0}, sum_xy = {0};
    for (int l = 0; l < depth; l += 8) {
        const tw_eight a = first_eight_f4(x + l, depth - l), b = first_eight_f4(y + l, depth - l);
        sum_xx += a * a;
        sum_yy += b * b;
        sum_xy += a * b;
    }
    double xx = meet_eight(sum_xx), yy = meet_eight(sum_yy);
    const double xy = meet_eight(sum_xy);
    if (xx == 0 || yy == 0) return 1;
    if (xx > yy || (xx == yy && comes_second(x, y, depth))) {
        const float *row = x;
        const double square = xx;
        x = y, y = row;
        xx = yy, yy = square;
    }
    const double t = xy / xx;
    tw_eight sum_rr = {0}, sum_rx = {0};
    for (int l = 0; l < depth; l += 8) {
        const tw_eight a = first_eight_f4(x + l, depth - l);
        const tw_eight r = less_eight(first_eight_f4(y + l, depth - l), t, a);
        sum_rr += r * r;
        sum_rx += r * a;
    }
    double rr = meet_eight(sum_rr);
    const double c = meet_eight(sum_rx) / xx;
    if (c * c * xx > 0x1p-40 * rr) {
        sum_rr = (tw_eight){0};
        for (int l = 0; l < depth; l += 8) {
            const tw_eight a = first_eight_f4(x + l, depth - l);
            const tw_eight r = less_eight(less_eight(first_eight_f4(y + l, depth - l), t, a), c, a);
            sum_rr += r * r;
        }
        rr = meet_eight(sum_rr);
    }
    const double s = rr / yy;
    if (s < 0.5 && xy > 0) return s / (1 + __builtin_sqrt(1 - s));
    const double wide = 1 - xy / (__builtin_sqrt(xx) * __builtin_sqrt(yy));
    return wide > 2 ? 2 : wide;
}
