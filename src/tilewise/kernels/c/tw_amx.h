/* The tiles of Intel AMX: loads, stores and products. With TW_EMULATE_AMX they are plain memory,
 * so that all that is built on them, the instruction set "amx" from the plan to the walk over
 * panels, can be tested and watched by sanitizers on processors that have AVX-512 alone. */
#ifndef TW_AMX_H
#define TW_AMX_H

#if defined(TW_EMULATE_AMX)
static _Thread_local struct {
    uint8_t rows[16][64];
} tw_tiles[8];

static void tile_load(int tile, const void *from, ptrdiff_t stride) {
    for (int r = 0; r < 16; r++) memcpy(tw_tiles[tile].rows[r], (const char *)from + r * stride, 64);
}

static void tile_store(int tile, void *to, ptrdiff_t stride) {
    for (int r = 0; r < 16; r++) memcpy((char *)to + r * stride, tw_tiles[tile].rows[r], 64);
}

/* As Intel's manual has it: even and odd columns are added up apart, then together, then to what
 * stands there. */
static void tile_multiply(int sum, int rows, int panel) {
    for (int r = 0; r < 16; r++) {
        const uint16_t *x = (const uint16_t *)tw_tiles[rows].rows[r];
        float even[16] = {0}, odd[16] = {0}, *to = (float *)tw_tiles[sum].rows[r];
        for (int l = 0; l < 16; l++) {
            const uint16_t *y = (const uint16_t *)tw_tiles[panel].rows[l];
            const float left = from_bf16(x[2 * l]), right = from_bf16(x[2 * l + 1]);
            for (int j = 0; j < 16; j++) {
                even[j] += left * from_bf16(y[2 * j]);
                odd[j] += right * from_bf16(y[2 * j + 1]);
            }
        }
        for (int j = 0; j < 16; j++) to[j] += even[j] + odd[j];
    }
}

#define TILE_LOAD(tile, from, stride) tile_load(tile, from, (ptrdiff_t)(stride))
#define TILE_STORE(tile, to, stride) tile_store(tile, to, (ptrdiff_t)(stride))
#define MULTIPLY(sum, rows, panel) tile_multiply(sum, rows, panel)

static void begin_tiles(void) {}
static void end_tiles(void) {}
#else
#define TILE_LOAD(tile, from, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((ptrdiff_t)(stride)) : "memory")
#define TILE_STORE(tile, to, stride) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((ptrdiff_t)(stride)) : "memory")
#define MULTIPLY(sum, rows, panel) __asm__ volatile("tdpbf16ps %%tmm" #panel ", %%tmm" #rows ", %%tmm" #sum :::)

/* All eight tiles 16 x 64 bytes. */
static void begin_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
}
static void end_tiles(void) { __asm__ volatile("tilerelease" ::: "memory"); }
#endif

#endif
