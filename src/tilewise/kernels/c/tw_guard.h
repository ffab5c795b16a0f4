/* Bytes between two parts of one buffer that nobody may touch. Where the address sanitizer
 * watches, a part that is too small is then an error where it happens; elsewhere they would only
 * take room, and there are none. */
#ifndef TW_GUARD_H
#define TW_GUARD_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define TW_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TW_WATCHED 1
#endif
#endif

#ifdef TW_WATCHED
#include <sanitizer/asan_interface.h>
enum { TW_GUARD = 64 };
static void tw_forbid(char *start) { __asan_poison_memory_region(start, TW_GUARD); }
#else
enum { TW_GUARD = 0 };
static void tw_forbid(char *start) { (void)start; }
#endif

#endif
