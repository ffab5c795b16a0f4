#ifndef TW_CPU_H
#define TW_CPU_H

/* The place of the widest instruction set that runs here in TW_SETS of tw_sets.h. Linux hands out the
 * tiles of AMX on request: this asks for them. */
int tw_cpu_level(void);

#endif
