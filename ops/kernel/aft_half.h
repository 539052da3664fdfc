/* IEEE 754 binary16 in portable C: no compiler type, no intrinsic. */
#ifndef AFT_HALF_H
#define AFT_HALF_H

#include <stdint.h>
#include <string.h>

static inline double aft_bits_to_double(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint64_t aft_double_to_bits(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Widens exactly: 1 sign, 5 exponent (bias 15) and 10 fraction bits into 1, 11 (bias 1023) and 52. */
static inline double aft_half_to_double(uint16_t h) {
  uint64_t sign = (uint64_t)(h >> 15) << 63;
  uint64_t exponent = (h >> 10) & 31u;
  uint64_t fraction = h & 1023u;
  if (exponent == 31) return aft_bits_to_double(sign | UINT64_C(0x7ff) << 52 | fraction << 42);
  if (exponent == 0) { /* zero or subnormal: fraction units of 2^-24 */
    double x = (double)fraction * 0x1p-24;
    return sign ? -x : x;
  }
  return aft_bits_to_double(sign | (exponent + 1023 - 15) << 52 | fraction << 42);
}

/* Rounds once, to nearest with ties to even, straight from the bits of the double: a detour over float would round twice
 * and move values that the first rounding puts on a tie. NaN stays NaN; what exceeds 65504 by half a unit is infinite. */
static inline uint16_t aft_half_from_double(double x) {
  uint64_t bits = aft_double_to_bits(x);
  uint32_t sign = (uint32_t)(bits >> 63) << 15;
  uint64_t magnitude = bits & (UINT64_MAX >> 1);
  uint64_t fraction = bits & (UINT64_MAX >> 12);
  int exponent = (int)(magnitude >> 52) - 1023 + 15; /* as a half would store it */
  if (magnitude > UINT64_C(0x7ff) << 52) return (uint16_t)(sign | 0x7e00u | (uint32_t)(fraction >> 42));
  if (exponent >= 31) return (uint16_t)(sign | 0x7c00u);

  /* kept is the result before rounding, drop the number of bits cut off. A carry out of the fraction raises the exponent,
   * as it should, up to infinity. */
  uint64_t full, kept;
  int drop;
  if (exponent > 0) {
    full = fraction;
    drop = 42;
    kept = (uint64_t)exponent << 10 | fraction >> drop;
  } else { /* subnormal or zero: the leading 1 becomes a bit of the fraction */
    drop = 42 + 1 - exponent;
    if (drop > 53) return (uint16_t)sign; /* below half of the smallest half; a subnormal double is here too */
    full = fraction | UINT64_C(1) << 52;
    kept = full >> drop;
  }
  uint64_t rest = full & ((UINT64_C(1) << drop) - 1), tie = UINT64_C(1) << (drop - 1);
  if (rest > tie || (rest == tie && (kept & 1))) kept++;
  return (uint16_t)(sign | (uint32_t)kept);
}

#endif
