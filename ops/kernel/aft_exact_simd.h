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

/* exp(x) is not seen beside 1 below EXACT_NONE, however many there are, and counts as 0: its products would be smaller than normal
 * numbers, which processors are slow with. What lies below EXACT_FAR by its hi (see halves) lies below EXACT_NONE. */
#define EXACT_NONE (-60.0f)
#define EXACT_FAR (-76.0f)

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

/* Whether a source with this half of K + W would change anything; >=, as among huge logits 38 is nothing. */
VEC int exact_counts(const exact_sums *s, vec half) { return vec_any(half >= s->top.hi + vec_of(EXACT_FAR / 2)); }

/* V of source i for the sums. */
typedef vec exact_value(const void *arg, size_t i, vec k);

/* Adds sources i..i+n-1, n <= BATCH, to a part of the sums. */
VEC void exact_terms(const exact_sums *s, const vec *k, exact_bias w, size_t i, exact_value *value, const void *arg, vec *num,
                     vec *den, const int n) {
  vec e[BATCH], v[BATCH];
  vec_bits gone[BATCH];
  EACH(j, n) {
    halves l = exact_logit(k[i + (size_t)j], exact_half(w, i + (size_t)j));
    gone[j] = l.hi == vec_of(-INFINITY);
    e[j] = exact_minus(l, s->top);
    e[j] = vec_pick(gone[j] | (e[j] < vec_of(EXACT_NONE)), vec_of(-INFINITY), e[j]);
    v[j] = value(arg, i + (size_t)j, k[i + (size_t)j]);
  }
  vec_exps(e, n);
  EACH(j, n) {
    *num = vec_madd(e[j], (vec)((vec_bits)v[j] & ~gone[j]), *num);
    *den += e[j];
  }
}

/* Adds n <= EXACT_CHUNK sources with these halves of K and W. They are looked at in groups of BATCH; a group of which none
 * counts is left out. */
VEC void exact_add(exact_sums *s, const vec *k, exact_bias w, size_t n, exact_value *value, const void *arg) {
  vec tops[EXACT_CHUNK / BATCH], all = vec_of(-INFINITY), num = vec_of(0), den = vec_of(0);
  size_t some = n % BATCH, groups = n / BATCH;
  for (size_t i = 0; i < some; i++) all = vec_max(k[i] + exact_half(w, i), all);
  vec first = all;
  for (size_t g = 0; g < groups; g++) {
    vec top = vec_of(-INFINITY);
    EACH(j, BATCH) {
      size_t i = some + g * BATCH + (size_t)j;
      top = vec_max(k[i] + exact_half(w, i), top);
    }
    tops[g] = top;
    all = vec_max(top, all);
  }
  exact_raise(s, k, w, n, all);
  if (!exact_counts(s, all)) return;
  for (size_t i = 0; some > 0 && exact_counts(s, first) && i < some; i++) exact_terms(s, k, w, i, value, arg, &num, &den, 1);
  for (size_t g = 0; g < groups; g++) {
    if (exact_counts(s, tops[g])) exact_terms(s, k, w, some + g * BATCH, value, arg, &num, &den, BATCH);
  }
  vec_add(&s->num, &s->num_lost, num);
  vec_add(&s->den, &s->den_lost, den);
}

#endif
