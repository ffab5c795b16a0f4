/* The state of a machine, a row of sensors at a time. states.h comes from examples/device.py.
 *
 * With -DSTATES_UPDATE the centres follow the rows that are not far away.
 */
#include <stdio.h>

#include "states.h"

int main(void) {
    float row[STATES_FEATURES], distance;
    while (scanf("%f %f %f %f", row, row + 1, row + 2, row + 3) == STATES_FEATURES) {
        int state = states_nearest(row, &distance);
        if (state < 0) {
            puts("a sensor is broken");
            continue;
        }
        printf("%d %.6g%s\n", state, (double)distance, distance > FARTHEST ? " unusual" : "");
#ifdef STATES_UPDATE
        if (distance <= FARTHEST) states_update(row, 1, &state);
#endif
    }
    return 0;
}
