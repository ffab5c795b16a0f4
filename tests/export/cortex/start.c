/* The least that a Cortex-M needs to call main; semihosting to print and to stop. */
#include <stdint.h>

extern uint32_t stack_top, data_start, data_end, data_load, bss_start, bss_end;
int main(void);

/* Arm's semihosting, operations 0x04 (write a string) and 0x18 (stop). */
static void host(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void print(const char *text) { host(0x04, text); }

void print_number(uint32_t number) {
    char digits[12];
    int first = 11;
    digits[first] = 0;
    do digits[--first] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    print(digits + first);
}

/* SysTick counts down, a tick for so many instructions under qemu's -icount. */
#define SYST ((volatile uint32_t *)0xE000E010)

void start_ticks(void) {
    SYST[1] = 0xFFFFFF;
    SYST[2] = 0;
    SYST[0] = 5; /* the processor's clock, no interrupt */
}

uint32_t ticks(void) { return 0xFFFFFF - SYST[2]; }

/* 2 n instructions. */
void spin(uint32_t n) { __asm__ volatile("1: subs %0, #1\n bne 1b" : "+r"(n) : : "cc"); }

void reset(void) {
    uint32_t *to, *from;
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: let the floating-point unit work */
    __asm__ volatile("dsb\n isb");
#endif
    for (to = &data_start, from = &data_load; to < &data_end;) *to++ = *from++;
    for (to = &bss_start; to < &bss_end;) *to++ = 0;
    main();
    host(0x18, (const void *)0x20026); /* the program ended */
    for (;;) {
    }
}

void fault(void) {
    print("FAULT\n");
    host(0x18, (const void *)0x20024);
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) void (*const vectors[16])(void) = {
    (void (*)(void))(void *)&stack_top, reset, fault, fault, fault, fault, fault,
};
