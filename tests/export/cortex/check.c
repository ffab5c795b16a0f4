/* Labels of all rows by the exported header, compared with those of Python; a line of figures. */
#include <stdint.h>

#include "model.h"
#include "rows.h" /* ROWS, rows (ROWS, d), labels (ROWS) */

void print(const char *text);
void print_number(uint32_t number);
void start_ticks(void);
uint32_t ticks(void);
void spin(uint32_t n);

int main(void) {
    static int found[ROWS];
    uint32_t taken, unit, wrong = 0;
    int i;
    start_ticks();
    spin(1000000);
    unit = ticks(); /* of two million instructions */
    start_ticks();
    for (i = 0; i < ROWS; i++) found[i] = model_predict(rows[i]);
    taken = ticks();
    for (i = 0; i < ROWS; i++) wrong += found[i] != labels[i];
    print("wrong "), print_number(wrong), print(" of "), print_number(ROWS);
    print(" instructions "), print_number((uint32_t)((uint64_t)taken * 2000000 / unit / ROWS));
#ifdef MODEL_UPDATE
    /* As bits, so that nothing is lost on the way. */
    if (model_update(rows[0], ROWS, found)) print(" not updated");
    print(" centres");
    for (i = 0; i < MODEL_CLUSTERS * MODEL_FEATURES; i++) {
        union {
            model_real number;
            uint32_t words[sizeof(model_real) / 4];
        } bits;
        unsigned w;
        bits.number = (&model_centers[0][0])[i];
        for (w = 0; w < sizeof bits.words / 4; w++) print(" "), print_number(bits.words[w]);
    }
#endif
    print("\n");
    return 0;
}
