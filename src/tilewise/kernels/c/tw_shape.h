/* Register tiles by register file: rows x vectors of running scores, plus the vectors
 * of one step of the depth and one broadcast, must fit.
 *   32 registers (AVX-512, NEON): 12 x 2 + 2 + 1 = 27;   16 registers: 6 x 2 + 2 + 1 = 15. */
#ifndef TW_SHAPE_H
#define TW_SHAPE_H

#if defined(__AVX512F__) || defined(__aarch64__)
#define TW_TILE_ROWS 12
#define TW_ROW_PANEL_VECTORS 4
#define TW_GROUP 4
#else
#define TW_TILE_ROWS 6
#define TW_ROW_PANEL_VECTORS 2
#define TW_GROUP 4
#endif
#define TW_PANEL_VECTORS 2

#endif
