#ifndef TW_CPU_H
#define TW_CPU_H

/* 2: AVX-512 F, VL, DQ and BW; 1: AVX2 with FMA; 0: what every build of this
 * architecture has. */
int tw_cpu_level(void);

#endif
