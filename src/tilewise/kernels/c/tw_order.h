/* The canonical order of additions, which every result in float64 keeps on every machine: element
 * l is added to running sum l % 8, and the eight sums are added up in the order of TW_MEET. C and
 * Cython state it nowhere else.
 */
#ifndef TW_ORDER_H
#define TW_ORDER_H

#define TW_ADD(x, y) ((x) + (y))
/* JOIN is what two sums become: an addition, or the larger of the two. */
#define TW_MEET_BY(JOIN, a)                                        \
    JOIN(JOIN(JOIN((a)[0], (a)[4]), JOIN((a)[2], (a)[6])),         \
         JOIN(JOIN((a)[1], (a)[5]), JOIN((a)[3], (a)[7])))
#define TW_MEET(a) TW_MEET_BY(TW_ADD, a)

/* The same for n elements up to eight, none of them below zero: the sums that have no element would
 * add a zero, which changes nothing. */
#define TW_TWO_OF(n, a, i) ((n) > (i) + 4 ? (a)[i] + (a)[(i) + 4] : (a)[i])
#define TW_EVEN_OF(n, a) ((n) > 2 ? TW_TWO_OF(n, a, 0) + TW_TWO_OF(n, a, 2) : TW_TWO_OF(n, a, 0))
#define TW_ODD_OF(n, a) ((n) > 3 ? TW_TWO_OF(n, a, 1) + TW_TWO_OF(n, a, 3) : TW_TWO_OF(n, a, 1))
#define TW_MEET_FIRST(n, a) ((n) < 2 ? TW_EVEN_OF(n, a) : TW_EVEN_OF(n, a) + TW_ODD_OF(n, a))

static inline double tw_meet(const double *a) { return TW_MEET(a); }

#endif
