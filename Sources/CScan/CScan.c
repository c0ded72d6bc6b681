#include "CScan.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

size_t cscan_plain_text(const uint8_t *bytes, size_t count) {
    size_t at = 0;
#if defined(__x86_64__)
    const __m128i quote = _mm_set1_epi8('\''), backslash = _mm_set1_epi8('\\');
    for (; at + 16 <= count; at += 16) {
        __m128i piece = _mm_loadu_si128((const __m128i *)(bytes + at));
        __m128i found = _mm_or_si128(_mm_cmpeq_epi8(piece, quote), _mm_cmpeq_epi8(piece, backslash));
        unsigned mask = (unsigned)_mm_movemask_epi8(found);
        if (mask != 0) return at + (size_t)__builtin_ctz(mask);
    }
#endif
    while (at < count && bytes[at] != '\'' && bytes[at] != '\\') at++;
    return at;
}

static int is_alphanumeric(uint8_t byte) {
    return (uint8_t)((byte | 0x20) - 'a') < 26 || (uint8_t)(byte - '0') < 10;
}

size_t cscan_alphanumeric(const uint8_t *bytes, size_t count) {
    size_t at = 0;
#if defined(__x86_64__)
    // Signed comparisons are all there are: what is to be below 26 is moved to below -128 + 26.
    const __m128i lower = _mm_set1_epi8(0x20);
    const __m128i letters = _mm_set1_epi8((char)(128 - 'a')), digits = _mm_set1_epi8((char)(128 - '0'));
    const __m128i last_letter = _mm_set1_epi8(-128 + 26), last_digit = _mm_set1_epi8(-128 + 10);
    for (; at + 16 <= count; at += 16) {
        __m128i piece = _mm_loadu_si128((const __m128i *)(bytes + at));
        __m128i letter = _mm_cmplt_epi8(_mm_add_epi8(_mm_or_si128(piece, lower), letters), last_letter);
        __m128i digit = _mm_cmplt_epi8(_mm_add_epi8(piece, digits), last_digit);
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(letter, digit));
        if (mask != 0xffff) return at + (size_t)__builtin_ctz(~mask);
    }
#endif
    while (at < count && is_alphanumeric(bytes[at])) at++;
    return at;
}
