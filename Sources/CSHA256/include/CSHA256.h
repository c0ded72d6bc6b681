#ifndef LIFEBOAT_CSHA256_H
#define LIFEBOAT_CSHA256_H

#include <stddef.h>
#include <stdint.h>

// SHA-256 (FIPS 180-4) for very many short messages: no allocation per message, and two messages at a time on
// processors with the SHA extensions, because one alone leaves half of their hashing unit idle.

/// A digest in the making. A plain value: copying it forks the digest.
typedef struct {
    uint32_t h[8];
    uint64_t length;
    uint8_t tail[64];
} csha256;

/// The sum modulo 2^256 of digests read as big-endian numbers, least significant limb first, and how many there were.
typedef struct {
    uint64_t sum[4];
    uint64_t rows;
} csha256_total;

/// What stopped csha256_rows.
enum {
    /// Only the beginning of a line is left.
    CSHA256_MORE = 0,
    /// The line `\.` was met and consumed: the end of COPY data.
    CSHA256_END = 1,
    /// A line `\.` with a carriage return, which psql takes for the end and the server's COPY never writes.
    CSHA256_FOREIGN_END = 2,
};

void csha256_init(csha256 *state);
void csha256_update(csha256 *state, const void *bytes, size_t count);
void csha256_final(csha256 *state, uint8_t digest[32]);

/// Adds the digest of every whole line of `bytes`, without its newline, to `total`, up to the line `\.` if there is
/// one. Returns how many bytes were consumed and says in `stop` why it went no further.
size_t csha256_rows(const uint8_t *bytes, size_t count, csha256_total *total, int *stop);

/// 1 where the processor's SHA extensions are used, 0 for portable code.
int csha256_is_accelerated(void);

/// The portable code whatever the processor, for tests: as csha256_init, _update and _final in one.
void csha256_portable(const void *bytes, size_t count, uint8_t digest[32]);

#endif
