/* The exact path, a vector of channels at a time: sums over logits K + W that are formed without rounding.
 *
 * Logits are halved, so that no finite K + W overflows, and kept as an unevaluated sum of two floats (Knuth's TwoSum), so
 * that no digit of W is lost beside a large K. Sources are visited in chunks, the last ones first: a chunk whose largest
 * logit lies too far below the largest so far is left out. That keeps the path cheap where it is needed, among keys so far
 * apart that few of them count. */
#ifndef AFT_EXACT_SIMD_H
#define AFT_EXACT_SIMD_H

#include "aft_vec.h"

enum { EXACT_CHUNK = 32 };

/* exp(x) is not seen beside 1 below this. */
#define EXACT_FAR (-104.0f)

typedef struct {
  vec hi, lo;
} halves;

/* Halves of biases: n floats, the same for all lanes; or n vectors. */
typedef struct {
  const float *w;
  int each; /* vectors */
} exact_bias;

VEC vec exact_half(exact_bias w, size_t i) { return w.each ? vec_aligned(w.w + i * LANES) : vec_of(w.w[i]); }

/* num and den over exp(2*top), with what rounding took from them. */
typedef struct {
  halves top;
  vec num, den, num_lost, den_lost;
} exact_sums;

VEC exact_sums exact_empty(void) {
  vec zero = vec_of(0);
  return (exact_sums){{vec_of(-FLT_MAX), zero}, zero, zero, zero, zero};
}

/* (k + w) / 2 from k/2 and w/2; -Inf of hi removes the pair. */
VEC halves exact_logit(vec k, vec w) {
  halves l = {k + w, {0}};
  vec part = l.hi - k;
  l.lo = (k - (l.hi - part)) + (w - part);
  return l;
}

VEC vec exact_minus(halves a, halves b) { return vec_of(2) * ((a.hi - b.hi) + (a.lo - b.lo)); }

/* Makes the largest of n logits the reference of those lanes where it lies far above the present one, or above it at all
 * where floats lie so far apart that `lo` counts: below 2^26 it is at most 4. k and w are halved, hi is the largest k + w. */
VEC void exact_raise(exact_sums *s, const vec *k, exact_bias w, size_t n, vec hi) {
  vec_bits far = hi > s->top.hi + vec_of(AFT_RAISE / 2), coarse = vec_magnitude(hi) > vec_of(0x1p26f), raise = far;
  vec lo = vec_of(0);
  if (__builtin_expect(vec_any(coarse & (hi >= s->top.hi)), 0)) {
    lo = vec_of(-INFINITY);
    for (size_t i = 0; i < n; i++) {
      halves l = exact_logit(k[i], exact_half(w, i));
      lo = vec_pick(l.hi == hi, vec_max(l.lo, lo), lo);
    }
    raise |= coarse & ((hi > s->top.hi) | ((hi == s->top.hi) & (lo > s->top.lo)));
    raise &= hi > vec_of(-INFINITY);
  }
  if (!vec_any(raise)) return;
  halves top = {vec_pick(raise, hi, s->top.hi), vec_pick(raise, lo, s->top.lo)};
  vec scale = vec_exp(exact_minus(s->top, top));
  s->num *= scale;
  s->den *= scale;
  s->num_lost *= scale;
  s->den_lost *= scale;
  s->top = top;
}

/* Prepares the sums for n <= EXACT_CHUNK sources with these halves of K and W: whether any of them counts. */
VEC int exact_reaches(exact_sums *s, const vec *k, exact_bias w, size_t n) {
  vec hi = vec_of(-INFINITY);
  for (size_t i = 0; i < n; i++) hi = vec_max(k[i] + exact_half(w, i), hi);
  exact_raise(s, k, w, n, hi);
  return vec_any(hi >= s->top.hi + vec_of(EXACT_FAR / 2)); /* >=: among huge logits 52 is nothing */
}

/* Adds one source with these halves of K and W to a part of the sums, unless it is too small in all lanes. */
VEC void exact_term(const exact_sums *s, vec k, vec w, vec v, vec *num, vec *den) {
  halves l = exact_logit(k, w);
  vec_bits gone = l.hi == vec_of(-INFINITY);
  vec e = vec_exp(vec_pick(gone, vec_of(-INFINITY), exact_minus(l, s->top)));
  *num = vec_madd(e, (vec)((vec_bits)v & ~gone), *num);
  *den += e;
}

/* Whether exact_term would change anything. */
VEC int exact_counts(const exact_sums *s, vec k, vec w) { return vec_any(k + w >= s->top.hi + vec_of(EXACT_FAR / 2)); }

#endif
