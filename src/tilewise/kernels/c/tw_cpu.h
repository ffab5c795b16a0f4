#ifndef TW_CPU_H
#define TW_CPU_H

/* 3: as 2, and AMX with bfloat16, which the operating system was asked for; 2: AVX-512 F, VL, DQ
 * and BW; 1: AVX2 with FMA; 0: what every build of this architecture has. */
int tw_cpu_level(void);

#endif
