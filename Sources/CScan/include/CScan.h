#ifndef LIFEBOAT_CSCAN_H
#define LIFEBOAT_CSCAN_H

#include <stddef.h>
#include <stdint.h>

// How far a run of bytes goes, sixteen bytes at a time where the processor can: dumps are long texts and hexadecimals
// between few signs that mean something.

/// The number of bytes before the first ' or \, at most `count`.
size_t cscan_plain_text(const uint8_t *bytes, size_t count);

/// The number of bytes before the first that is no ASCII letter or digit, at most `count`.
size_t cscan_alphanumeric(const uint8_t *bytes, size_t count);

#endif
