#include "CSHA256.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define ACCELERATED __attribute__((target("sha,sse4.1,ssse3")))
#endif

// FIPS 180-4, 4.2.2: the constants of the 64 rounds.
static const uint32_t K[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// 5.3.3: what every digest begins with.
static const uint32_t H0[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static inline uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static inline uint32_t load_big(const uint8_t *p) {
    uint32_t x;
    memcpy(&x, p, 4);
    return __builtin_bswap32(x);
}

static inline void store_big64(uint8_t *p, uint64_t x) {
    x = __builtin_bswap64(x);
    memcpy(p, &x, 8);
}

// 6.2.2, as it is written there.
static void portable_blocks(uint32_t h[8], const uint8_t *p, size_t blocks) {
    uint32_t w[64];
    for (; blocks > 0; blocks--, p += 64) {
        for (int t = 0; t < 16; t++) {
            w[t] = load_big(p + 4 * t);
        }
        for (int t = 16; t < 64; t++) {
            uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ (w[t - 15] >> 3);
            uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ (w[t - 2] >> 10);
            w[t] = w[t - 16] + s0 + w[t - 7] + s1;
        }
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
        for (int t = 0; t < 64; t++) {
            uint32_t t1 = i + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + K[t] + w[t];
            uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            i = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += i;
    }
}

static void add_digest(csha256_total *total, const uint32_t h[8]) {
    unsigned __int128 carry = 0;
    for (int limb = 0; limb < 4; limb++) {
        carry += (unsigned __int128)total->sum[limb] + ((uint64_t)h[6 - 2 * limb] << 32 | h[7 - 2 * limb]);
        total->sum[limb] = (uint64_t)carry;
        carry >>= 64;
    }
    total->rows++;
}

// 5.1.1: the end of a message of `length` bytes, whose last `rest` (fewer than 64) are at `bytes`. Returns how many
// blocks of `tail` it fills.
static inline size_t pad(uint8_t tail[128], const uint8_t *bytes, size_t rest, uint64_t length) {
    size_t blocks = rest < 56 ? 1 : 2;
    memset(tail, 0, 128);
    memcpy(tail, bytes, rest);
    tail[rest] = 0x80;
    store_big64(tail + 64 * blocks - 8, length * 8);
    return blocks;
}

// The next line of the data, or why there is none.
static inline int next_line(const uint8_t **cursor, const uint8_t *end, const uint8_t **line, size_t *length,
                            int *stop) {
    const uint8_t *newline = *cursor < end ? memchr(*cursor, '\n', (size_t)(end - *cursor)) : NULL;
    if (newline == NULL) {
        *stop = CSHA256_MORE;
        return 0;
    }
    *line = *cursor;
    *length = (size_t)(newline - *cursor);
    if (__builtin_expect(*length >= 2 && *length <= 3 && (*line)[0] == '\\' && (*line)[1] == '.', 0)) {
        if (*length == 2) {
            *cursor = newline + 1;
            *stop = CSHA256_END;
            return 0;
        }
        if ((*line)[2] == '\r') {
            *stop = CSHA256_FOREIGN_END;
            return 0;
        }
    }
    *cursor = newline + 1;
    return 1;
}

static size_t portable_rows(const uint8_t *bytes, size_t count, csha256_total *total, int *stop) {
    const uint8_t *cursor = bytes, *end = bytes + count, *line;
    size_t length;
    while (next_line(&cursor, end, &line, &length, stop)) {
        uint32_t h[8];
        uint8_t tail[128];
        memcpy(h, H0, sizeof h);
        portable_blocks(h, line, length / 64);
        size_t blocks = pad(tail, line + length / 64 * 64, length % 64, length);
        portable_blocks(h, tail, blocks);
        add_digest(total, h);
    }
    return (size_t)(cursor - bytes);
}

#if defined(__x86_64__)

// The instructions keep the eight words in two registers, in the order A B E F and C D G H from the high end.
typedef struct {
    __m128i abef, cdgh;
} packed;

ACCELERATED static inline packed pack(const uint32_t h[8]) {
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xB1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), 0x1B);
    packed s = {_mm_alignr_epi8(abcd, efgh, 8), _mm_blend_epi16(efgh, abcd, 0xF0)};
    return s;
}

ACCELERATED static inline void unpack(packed s, uint32_t h[8]) {
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

// Four rounds, and the four message words that the rounds sixteen later will need.
#define ROUNDS(s, m, i)                                                                                            \
    do {                                                                                                           \
        __m128i wk = _mm_add_epi32(m[(i) & 3], _mm_load_si128((const __m128i *)(K + 4 * (i))));                    \
        s.cdgh = _mm_sha256rnds2_epu32(s.cdgh, s.abef, wk);                                                        \
        s.abef = _mm_sha256rnds2_epu32(s.abef, s.cdgh, _mm_shuffle_epi32(wk, 0x0E));                               \
        if ((i) < 12) {                                                                                            \
            __m128i w = _mm_sha256msg1_epu32(m[(i) & 3], m[((i) + 1) & 3]);                                        \
            w = _mm_add_epi32(w, _mm_alignr_epi8(m[((i) + 3) & 3], m[((i) + 2) & 3], 4));                          \
            m[(i) & 3] = _mm_sha256msg2_epu32(w, m[((i) + 3) & 3]);                                                \
        }                                                                                                          \
    } while (0)

#define LOAD(m, p)                                                                                                 \
    do {                                                                                                           \
        for (int j = 0; j < 4; j++) {                                                                              \
            m[j] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p) + j), big_endian);                        \
        }                                                                                                          \
    } while (0)

ACCELERATED static void blocks_one(packed *state, const uint8_t *p, size_t blocks) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    packed s = *state;
    for (; blocks > 0; blocks--, p += 64) {
        packed before = s;
        __m128i m[4];
        LOAD(m, p);
#pragma clang loop unroll(full)
        for (int i = 0; i < 16; i++) {
            ROUNDS(s, m, i);
        }
        s.abef = _mm_add_epi32(s.abef, before.abef);
        s.cdgh = _mm_add_epi32(s.cdgh, before.cdgh);
    }
    *state = s;
}

// One round waits for the one before it; those of another message fill the wait.
ACCELERATED static void blocks_two(packed *left, const uint8_t *p, packed *right, const uint8_t *q, size_t blocks) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    packed s = *left, t = *right;
    for (; blocks > 0; blocks--, p += 64, q += 64) {
        packed s_before = s, t_before = t;
        __m128i m[4], n[4];
        LOAD(m, p);
        LOAD(n, q);
#pragma clang loop unroll(full)
        for (int i = 0; i < 16; i++) {
            ROUNDS(s, m, i);
            ROUNDS(t, n, i);
        }
        s.abef = _mm_add_epi32(s.abef, s_before.abef);
        s.cdgh = _mm_add_epi32(s.cdgh, s_before.cdgh);
        t.abef = _mm_add_epi32(t.abef, t_before.abef);
        t.cdgh = _mm_add_epi32(t.cdgh, t_before.cdgh);
    }
    *left = s;
    *right = t;
}

// One of the two lines that are being hashed: first its whole blocks where they are, then the padded rest.
typedef struct {
    packed state;
    const uint8_t *at;
    size_t left;
    size_t tail_blocks;
    uint8_t tail[128];
} lane;

ACCELERATED static inline void lane_start(lane *l, const uint8_t *line, size_t length) {
    l->state = pack(H0);
    l->tail_blocks = pad(l->tail, line + length / 64 * 64, length % 64, length);
    l->at = line;
    l->left = length / 64;
    if (l->left == 0) {
        l->at = l->tail, l->left = l->tail_blocks, l->tail_blocks = 0;
    }
}

// Steps over `blocks`. Returns 1 when the line is done, its digest added.
ACCELERATED static inline int lane_advance(lane *l, size_t blocks, csha256_total *total) {
    l->at += 64 * blocks;
    l->left -= blocks;
    if (l->left > 0) {
        return 0;
    }
    if (l->tail_blocks > 0) {
        l->at = l->tail, l->left = l->tail_blocks, l->tail_blocks = 0;
        return 0;
    }
    uint32_t h[8];
    unpack(l->state, h);
    add_digest(total, h);
    return 1;
}

ACCELERATED static size_t accelerated_rows(const uint8_t *bytes, size_t count, csha256_total *total, int *stop) {
    const uint8_t *cursor = bytes, *end = bytes + count, *line;
    size_t length;
    lane lanes[2];
    int open[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        if (next_line(&cursor, end, &line, &length, stop)) {
            lane_start(&lanes[i], line, length);
            open[i] = 1;
        } else {
            break;
        }
    }
    while (open[0] && open[1]) {
        size_t blocks = lanes[0].left < lanes[1].left ? lanes[0].left : lanes[1].left;
        blocks_two(&lanes[0].state, lanes[0].at, &lanes[1].state, lanes[1].at, blocks);
        for (int i = 0; i < 2; i++) {
            if (lane_advance(&lanes[i], blocks, total)) {
                // Once there was no next line, the other lane ends alone; it must not ask again.
                if (open[1 - i] && next_line(&cursor, end, &line, &length, stop)) {
                    lane_start(&lanes[i], line, length);
                } else {
                    open[i] = 0;
                }
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        while (open[i]) {
            size_t blocks = lanes[i].left;
            blocks_one(&lanes[i].state, lanes[i].at, blocks);
            open[i] = !lane_advance(&lanes[i], blocks, total);
        }
    }
    return (size_t)(cursor - bytes);
}

ACCELERATED static void accelerated_blocks(uint32_t h[8], const uint8_t *p, size_t blocks) {
    packed s = pack(h);
    blocks_one(&s, p, blocks);
    unpack(s, h);
}

#endif

int csha256_is_accelerated(void) {
#if defined(__x86_64__)
    // 0 is not known yet. Threads that race for it find the same answer.
    static _Atomic int known = 0;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == 0) {
        unsigned a, b, c, d;
        int features = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1);
        answer = features && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29)) ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 2;
#else
    return 0;
#endif
}

static void blocks_of(uint32_t h[8], const uint8_t *p, size_t blocks) {
#if defined(__x86_64__)
    if (csha256_is_accelerated()) {
        accelerated_blocks(h, p, blocks);
        return;
    }
#endif
    portable_blocks(h, p, blocks);
}

size_t csha256_rows(const uint8_t *bytes, size_t count, csha256_total *total, int *stop) {
#if defined(__x86_64__)
    if (csha256_is_accelerated()) {
        return accelerated_rows(bytes, count, total, stop);
    }
#endif
    return portable_rows(bytes, count, total, stop);
}

void csha256_init(csha256 *state) {
    memcpy(state->h, H0, sizeof H0);
    state->length = 0;
}

void csha256_update(csha256 *state, const void *bytes, size_t count) {
    const uint8_t *p = bytes;
    size_t filled = state->length % 64;
    state->length += count;
    if (filled > 0) {
        size_t amount = count < 64 - filled ? count : 64 - filled;
        memcpy(state->tail + filled, p, amount);
        p += amount, count -= amount;
        if (filled + amount < 64) {
            return;
        }
        blocks_of(state->h, state->tail, 1);
    }
    if (count >= 64) {
        blocks_of(state->h, p, count / 64);
        p += count / 64 * 64, count %= 64;
    }
    if (count > 0) {
        memcpy(state->tail, p, count);
    }
}

static void write_digest(const uint32_t h[8], uint8_t digest[32]) {
    for (int i = 0; i < 8; i++) {
        uint32_t word = __builtin_bswap32(h[i]);
        memcpy(digest + 4 * i, &word, 4);
    }
}

void csha256_final(csha256 *state, uint8_t digest[32]) {
    uint8_t tail[128];
    size_t blocks = pad(tail, state->tail, state->length % 64, state->length);
    blocks_of(state->h, tail, blocks);
    write_digest(state->h, digest);
}

void csha256_portable(const void *bytes, size_t count, uint8_t digest[32]) {
    uint32_t h[8];
    uint8_t tail[128];
    memcpy(h, H0, sizeof h);
    portable_blocks(h, bytes, count / 64);
    size_t blocks = pad(tail, (const uint8_t *)bytes + count / 64 * 64, count % 64, count);
    portable_blocks(h, tail, blocks);
    write_digest(h, digest);
}
