/* The product at the heart of AFTFull, AFTLocal and AFTConv1D, of some rows of weights with the terms of LANES channels,
 * and what becomes of its sums.
 *
 *     num[r] += sum_s weight[s][r] * terms[s].num,    den[r] += sum_s weight[s][r] * terms[s].den
 *
 * Sums run over TILE_RUN terms in registers before they are added to those in memory: the rounding error of n terms that
 * all round the same way is n/3 units in the last place, whatever instructions add them. */
#ifndef AFT_TILE_SIMD_H
#define AFT_TILE_SIMD_H

#include "aft_vec.h"

enum {
  TERM = 2 * LANES,    /* floats in [a V | a] of one source and LANES channels */
  TILE = ROWS * TERM,  /* floats in the sums of a tile: [num | den] of every row */
  TILE_RUN = 22
};

#define EACH_ROW(r) EACH(r, ROWS)

/* Whether den of every row is large enough to be trusted; NaN is not. */
VEC int tile_trusted(const float *sums, size_t rows, float tiny) {
  vec_bits bad = {0};
  for (size_t r = 0; r < rows; r++) bad |= ~(vec_aligned(sums + r * TERM + LANES) >= vec_of(tiny));
  return __builtin_expect(!vec_any(bad), 1);
}

/* Replaces the sums of a row in those lanes that are not to be trusted. */
VEC void tile_replace(float *sum, vec_bits bad, vec num, vec den) {
  vec_store_aligned(sum, vec_pick(bad, num, vec_aligned(sum)));
  vec_store_aligned(sum + LANES, vec_pick(bad, den, vec_aligned(sum + LANES)));
}

VEC void tile_finish_some(const aft_call *call, void *out, size_t i, size_t step, const float *sums, vec up, size_t lanes,
                          const int n) {
  vec num[BATCH], den[BATCH], ups[BATCH];
  EACH(j, n) num[j] = vec_aligned(sums + j * TERM);
  EACH(j, n) den[j] = vec_aligned(sums + j * TERM + LANES);
  EACH(j, n) ups[j] = up;
  vec_finish_some(call, out, i, step, num, den, ups, lanes, n);
}

/* Y of `rows` positions, which begin at element i and are `step` elements apart, from their finished sums. */
VEC void tile_finish(const aft_call *call, void *out, size_t i, size_t step, const float *sums, vec up, size_t lanes,
                     size_t rows) {
  size_t r = 0;
  for (; r + BATCH <= rows; r += BATCH) tile_finish_some(call, out, i + r * step, step, sums + r * TERM, up, lanes, BATCH);
  for (; r < rows; r++) tile_finish_some(call, out, i + r * step, step, sums + r * TERM, up, lanes, 1);
}

/* What a product asks for while it computes: bytes from `at` on, `run` of them a TILE_RUN. They may lie past an end. */
typedef struct {
  uintptr_t at;
  size_t run;
} tile_ahead;

/* sums += the product over n sources. */
VEC void tile_product_of(float *sums, const float *weights, const float *terms, size_t n, tile_ahead ahead, const int rows) {
  while (n > 0) {
    size_t run = aft_min(n, TILE_RUN);
    const float *end = terms + run * TERM;
    vec num[ROWS], den[ROWS];
    for (size_t i = 0; i < ahead.run; i += AFT_LINE) __builtin_prefetch((const void *)(ahead.at + i), 0, 2);
    ahead.at += ahead.run;
    EACH(r, rows) num[r] = den[r] = vec_of(0);
    for (; terms != end; terms += TERM, weights += rows) {
      vec v = vec_aligned(terms), a = vec_aligned(terms + LANES);
      EACH(r, rows) {
        vec w = vec_held(vec_of(weights[r]));
        num[r] = vec_madd(w, v, num[r]);
        den[r] = vec_madd(w, a, den[r]);
      }
    }
    __asm__ volatile("" ::: "memory"); /* or the compiler carries all sums through the loop, on the stack */
    EACH(r, rows) {
      float *sum = sums + r * TERM;
      vec_store_aligned(sum, vec_aligned(sum) + num[r]);
      vec_store_aligned(sum + LANES, vec_aligned(sum + LANES) + den[r]);
    }
    n -= run;
  }
}

static __attribute__((noinline)) void tile_product(float *sums, const float *weights, const float *terms, size_t n) {
  tile_product_of(sums, weights, terms, n, (tile_ahead){0}, ROWS);
}

static __attribute__((noinline)) void tile_product_ahead(float *sums, const float *weights, const float *terms, size_t n,
                                                         tile_ahead ahead) {
  tile_product_of(sums, weights, terms, n, ahead, ROWS);
}

/* num alone, from terms of LANES floats, for channels that share den with others. */
VEC void tile_product_num(float *sums, const float *weights, const float *terms, size_t n, const int rows) {
  while (n > 0) {
    size_t run = aft_min(n, TILE_RUN);
    const float *end = terms + run * LANES;
    vec num[ROWS];
    EACH(r, rows) num[r] = vec_of(0);
    for (; terms != end; terms += LANES, weights += rows) {
      vec v = vec_aligned(terms);
      EACH(r, rows) num[r] = vec_madd(vec_of(weights[r]), v, num[r]);
    }
    __asm__ volatile("" ::: "memory"); /* as above */
    EACH(r, rows) vec_store_aligned(sums + r * TERM, vec_aligned(sums + r * TERM) + num[r]);
    n -= run;
  }
}

#endif
