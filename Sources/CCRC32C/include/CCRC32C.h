#ifndef LIFEBOAT_CCRC32C_H
#define LIFEBOAT_CCRC32C_H

#include <stddef.h>
#include <stdint.h>

// CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum that S3 takes and that processors compute.

/// The checksum of `bytes` after those that gave `crc`; 0 begins.
uint32_t ccrc32c(uint32_t crc, const void *bytes, size_t count);

/// 1 where the processor's instruction is used, 0 for tables.
int ccrc32c_is_accelerated(void);

/// The tables whatever the processor, for tests.
uint32_t ccrc32c_portable(uint32_t crc, const void *bytes, size_t count);

#endif
