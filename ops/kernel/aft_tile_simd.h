/* The product at the heart of AFTFull, AFTLocal and AFTConv1D: ROWS rows of weights with the terms of LANES channels.
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

/* What a product asks for while it computes: bytes from `at` on, `run` of them a TILE_RUN. They may lie past an end. */
typedef struct {
  uintptr_t at;
  size_t run;
} tile_ahead;

/* sums += the product over n sources. */
VEC void tile_product_of(float *sums, const float *weights, const float *terms, size_t n, tile_ahead ahead) {
  while (n > 0) {
    size_t run = aft_min(n, TILE_RUN);
    const float *end = terms + run * TERM;
    vec num[ROWS], den[ROWS];
    for (size_t i = 0; i < ahead.run; i += AFT_LINE) __builtin_prefetch((const void *)(ahead.at + i), 0, 2);
    ahead.at += ahead.run;
    EACH_ROW(r) num[r] = den[r] = vec_of(0);
    for (; terms != end; terms += TERM, weights += ROWS) {
      vec v = vec_aligned(terms), a = vec_aligned(terms + LANES);
      EACH_ROW(r) {
        vec w = vec_of(weights[r]);
        num[r] = vec_madd(w, v, num[r]);
        den[r] = vec_madd(w, a, den[r]);
      }
    }
    __asm__ volatile("" ::: "memory"); /* or the compiler carries all sums through the loop, on the stack */
    EACH_ROW(r) {
      float *sum = sums + r * TERM;
      vec_store_aligned(sum, vec_aligned(sum) + num[r]);
      vec_store_aligned(sum + LANES, vec_aligned(sum + LANES) + den[r]);
    }
    n -= run;
  }
}

static __attribute__((noinline)) void tile_product(float *sums, const float *weights, const float *terms, size_t n) {
  tile_product_of(sums, weights, terms, n, (tile_ahead){0});
}

static __attribute__((noinline)) void tile_product_ahead(float *sums, const float *weights, const float *terms, size_t n,
                                                         tile_ahead ahead) {
  tile_product_of(sums, weights, terms, n, ahead);
}

/* num alone, from terms of LANES floats, for channels that share den with others. */
static __attribute__((noinline)) void tile_product_num(float *sums, const float *weights, const float *terms, size_t n) {
  while (n > 0) {
    size_t run = aft_min(n, TILE_RUN);
    const float *end = terms + run * LANES;
    vec num[ROWS];
    EACH_ROW(r) num[r] = vec_of(0);
    for (; terms != end; terms += LANES, weights += ROWS) {
      vec v = vec_aligned(terms);
      EACH_ROW(r) num[r] = vec_madd(vec_of(weights[r]), v, num[r]);
    }
    __asm__ volatile("" ::: "memory"); /* as above */
    EACH_ROW(r) vec_store_aligned(sums + r * TERM, vec_aligned(sums + r * TERM) + num[r]);
    n -= run;
  }
}

#endif
