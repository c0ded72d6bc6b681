#include "CCRC32C.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

// Eight bytes at a time: table k gives what a byte adds that k more bytes follow.
static uint32_t tables[8][256];
static pthread_once_t tables_are_made = PTHREAD_ONCE_INIT;

static void make_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            // The polynomial 0x1EDC6F41 with its bits reversed.
            crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78 : 0);
        }
        tables[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = tables[k - 1][byte];
            tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xFF];
        }
    }
}

uint32_t ccrc32c_portable(uint32_t crc, const void *bytes, size_t count) {
    pthread_once(&tables_are_made, make_tables);
    const uint8_t *p = bytes;
    crc = ~crc;
    for (; count >= 8; count -= 8, p += 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = tables[7][crc & 0xFF] ^ tables[6][crc >> 8 & 0xFF] ^ tables[5][crc >> 16 & 0xFF] ^
              tables[4][crc >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
    }
    for (; count > 0; count--, p++) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 0xFF];
    }
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t accelerated(uint32_t crc, const uint8_t *p, size_t count) {
    uint64_t state = (uint32_t)~crc;
    for (; count >= 8; count -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        state = _mm_crc32_u64(state, word);
    }
    uint32_t rest = (uint32_t)state;
    for (; count > 0; count--, p++) {
        rest = _mm_crc32_u8(rest, *p);
    }
    return ~rest;
}

int ccrc32c_is_accelerated(void) { return __builtin_cpu_supports("sse4.2") != 0; }

#elif defined(__ARM_FEATURE_CRC32)

static uint32_t accelerated(uint32_t crc, const uint8_t *p, size_t count) {
    uint32_t state = ~crc;
    for (; count >= 8; count -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        state = __crc32cd(state, word);
    }
    for (; count > 0; count--, p++) {
        state = __crc32cb(state, *p);
    }
    return ~state;
}

int ccrc32c_is_accelerated(void) { return 1; }

#else

static uint32_t accelerated(uint32_t crc, const uint8_t *p, size_t count) {
    return ccrc32c_portable(crc, p, count);
}

int ccrc32c_is_accelerated(void) { return 0; }

#endif

uint32_t ccrc32c(uint32_t crc, const void *bytes, size_t count) {
    return ccrc32c_is_accelerated() ? accelerated(crc, bytes, count) : ccrc32c_portable(crc, bytes, count);
}
