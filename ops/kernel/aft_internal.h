/* What the kernels share: element types, threads and memory; and the kernels in double: sums that do not lose digits, the
 * scale of a channel. They compute double, and of float and float16 what the vectors leave them (aft_simd.h).
 *
 * Their scheme. All arithmetic is in double, whatever the element type, and a result is rounded once, when it is
 * stored. With key_d near max_s K[s,d] and bias_t = max_s W[t,s],
 *
 *     num[t,d] = sum_s E[t,s] a[s,d] V[s,d],   den[t,d] = sum_s E[t,s] a[s,d],
 *     a[s,d] = exp(K[s,d] - key_d) <= 1,       E[t,s] = exp(W[t,s] - bias_t) <= 1.
 *
 * The fast path is num/den where den >= AFT_DEN_MIN. It cannot miss: a factor or a product below 2^-1022 loses digits or
 * becomes 0, an absolute error of at most 2^-1022 a term, so S terms shift den by less than S * 2.3e-308, which beside
 * 1e-280 is nothing; the same holds for num because V is scaled to about 1 (aft_channel). Where den is smaller, 0 or NaN
 * - the largest key is masked, in the future or under a very negative bias - that one (t,d) is computed from the logits
 * K + W themselves (aft_lse). */
#ifndef AFT_INTERNAL_H
#define AFT_INTERNAL_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aft.h"
#include "aft_half.h"
#include "zops.h"

/* A product followed by a sum is rounded twice everywhere, or the bits would depend on what the compiler fuses. GCC does
 * that by itself under -std=c11 and warns about the pragma. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#define AFT_DEN_MIN 1e-280
#define AFT_DEN_MAX 1e280

/* How many terms a plain sum takes before it is added to a total: the rounding error of n terms is then that of
 * AFT_RUN + n/AFT_RUN. */
#define AFT_RUN 128

/* Most channels that one task works on. */
#define AFT_LANES 64

static inline size_t aft_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t aft_div_up(size_t a, size_t b) { return a / b + (a % b != 0); }

/* ---- element types ------------------------------------------------------------------------------------------------ */

/* Reads n elements from element i on. Operands need no alignment. */
static inline void aft_load(double *dst, const aft_tensor *t, size_t i, size_t n) {
  const char *p = t->data;
  switch (t->dtype) {
    case AFT_FLOAT:
      for (size_t j = 0; j < n; j++) {
        float x;
        memcpy(&x, p + (i + j) * sizeof x, sizeof x);
        dst[j] = x;
      }
      break;
    case AFT_FLOAT16:
      for (size_t j = 0; j < n; j++) {
        uint16_t x;
        memcpy(&x, p + (i + j) * sizeof x, sizeof x);
        dst[j] = aft_half_to_double(x);
      }
      break;
    default: memcpy(dst, p + i * sizeof *dst, n * sizeof *dst);
  }
}

/* Rounds n values and writes them from element i on. */
static inline void aft_store(void *out, int32_t dtype, size_t i, const double *src, size_t n) {
  char *p = out;
  switch (dtype) {
    case AFT_FLOAT:
      for (size_t j = 0; j < n; j++) {
        float x = (float)src[j];
        memcpy(p + (i + j) * sizeof x, &x, sizeof x);
      }
      break;
    case AFT_FLOAT16:
      for (size_t j = 0; j < n; j++) {
        uint16_t x = aft_half_from_double(src[j]);
        memcpy(p + (i + j) * sizeof x, &x, sizeof x);
      }
      break;
    default: memcpy(p + i * sizeof *src, src, n * sizeof *src);
  }
}

static inline double aft_gate(int64_t gate, double q, double ratio) {
  switch (gate) {
    case AFT_GATE_SIGMOID: {
      double e = exp(-fabs(q)); /* never overflows; NaN stays NaN */
      return (q >= 0 ? 1 / (1 + e) : e / (1 + e)) * ratio;
    }
    case AFT_GATE_TANH: return tanh(q) * ratio;
    default: return q * ratio;
  }
}

/* Y = gate(Q) * ratio for the n elements from i on; ratio is overwritten. Absent, the gate does not read Q. */
static inline void aft_finish(const aft_call *call, void *out, size_t i, double *ratio, size_t n) {
  const aft_tensor *q = &call->in[0];
  if (call->attrs.gate != AFT_GATE_ABSENT) {
    double row[AFT_LANES];
    aft_load(row, q, i, n);
    for (size_t j = 0; j < n; j++) ratio[j] = aft_gate(call->attrs.gate, row[j], ratio[j]);
  }
  aft_store(out, q->dtype, i, ratio, n);
}

/* ---- threads and memory ------------------------------------------------------------------------------------------- */

/* Runs fn(arg, i, scratch) for i = 0..n-1 on the host's threads, each with scratch of its own: `doubles` doubles, not
 * cleared. Memory is taken here, in the calling thread, for so many tasks at a time as fit a fixed budget; neither the
 * split nor the budget looks at the number of threads, so the bits do not either. AFT_OK or AFT_NO_MEMORY. */
int aft_tasks(const aft_host *host, void (*fn)(void *arg, size_t i, double *scratch), void *arg, size_t n,
              size_t doubles);

/* Memory from the host; NULL where there is none. */
void *aft_take(const aft_host *host, size_t bytes);
void aft_give_back(const aft_host *host, void *p);

/* a * b and a + b for sizes of scratch; SIZE_MAX, which no allocator has, where they overflow. */
static inline size_t aft_mul(size_t a, size_t b) { return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b; }
static inline size_t aft_add(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

/* ---- checks -------------------------------------------------------------------------------------------------------- */

/* The sizes of the letters of a declaration, by letter - 'A'; -1 where a letter does not occur. */
typedef struct {
  int64_t size[26];
} aft_dims;

static inline int64_t aft_dim(const aft_dims *dims, char letter) { return dims->size[letter - 'A']; }

/* Checks what every operator has in common: the attributes causal and gate, number, types, ranks and letters of the
 * inputs, sizes that overflow. Fills dims. */
int aft_check_call(const aft_call *call, aft_dims *dims, char *message);

int aft_fail(const aft_call *call, char *message, const char *format, ...)
#ifdef __GNUC__
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* Dimension `axis` of input i must be at least, or exactly, n. */
int aft_at_least(const aft_call *call, int i, int axis, int64_t n, const char *what, char *message);
int aft_exactly(const aft_call *call, int i, int axis, int64_t n, const char *what, char *message);

/* An attribute's value must lie in lo..hi. */
int aft_within(const aft_call *call, const char *name, int64_t value, int64_t lo, int64_t hi, const char *what,
               char *message);

/* The message of a causal call whose S is not T. */
int aft_fail_causal(const aft_call *call, int64_t s, int64_t t, char *message);

/* H >= 1 and H divides D. */
int aft_check_heads(const aft_call *call, const aft_dims *dims, char *message);

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

/* A running sum and what rounding took from it (Knuth's TwoSum): hi + lo has the error of one rounding. */
typedef struct {
  double hi, lo;
} aft_sum;

static inline void aft_sum_add(aft_sum *s, double x) {
  double total = s->hi + x, part = total - s->hi;
  s->lo += (s->hi - (total - part)) + (x - part);
  s->hi = total;
}

/* An infinite sum has lost its remainder to NaN. */
static inline double aft_sum_value(aft_sum s) { return isinf(s.hi) ? s.hi : s.hi + s.lo; }

/* The same for n sums at once, hi[j] + lo[j] += row[j]. */
static inline void aft_sums_add(double *restrict hi, double *restrict lo, const double *restrict row, size_t n) {
  for (size_t j = 0; j < n; j++) {
    double total = hi[j] + row[j], part = total - hi[j];
    lo[j] += (hi[j] - (total - part)) + (row[j] - part);
    hi[j] = total;
  }
}

/* acc[j] += sum_i weight[i] * rows[i*n + j]: n values (at most 2*AFT_LANES) of `count` consecutive rows. */
static inline void aft_weigh(double *restrict acc, const double *restrict weight, const double *restrict rows,
                             size_t count, size_t n) {
  double run[2 * AFT_LANES];
  while (count > 0) {
    size_t m = aft_min(count, AFT_RUN), i = 0;
    for (size_t j = 0; j < n; j++) run[j] = 0;
    for (; i + 4 <= m; i += 4) {
      const double *r = rows + i * n, *w = weight + i;
      for (size_t j = 0; j < n; j++) {
        run[j] += (w[0] * r[j] + w[1] * r[n + j]) + (w[2] * r[2 * n + j] + w[3] * r[3 * n + j]);
      }
    }
    for (; i < m; i++) {
      for (size_t j = 0; j < n; j++) run[j] += weight[i] * rows[i * n + j];
    }
    for (size_t j = 0; j < n; j++) acc[j] += run[j];
    weight += m;
    rows += m * n;
    count -= m;
  }
}

/* The same where every value has a weight of its own: acc[j] += sum_i weights[i*n + j] * rows[i*n + j]. */
static inline void aft_weigh_each(double *restrict acc, const double *restrict weights, const double *restrict rows,
                                  size_t count, size_t n) {
  double run[2 * AFT_LANES];
  while (count > 0) {
    size_t m = aft_min(count, AFT_RUN);
    for (size_t j = 0; j < n; j++) run[j] = 0;
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < n; j++) run[j] += weights[i * n + j] * rows[i * n + j];
    }
    for (size_t j = 0; j < n; j++) acc[j] += run[j];
    weights += m * n;
    rows += m * n;
    count -= m;
  }
}

/* ---- the exact path: log-sum-exp ----------------------------------------------------------------------------------- */

/* Half of K + W as an unevaluated sum of two doubles: half, so that no finite K + W overflows; two, so that no digit of
 * a small W is lost beside a large K. -Inf in either removes the pair, whatever the other holds; lo is 0 where hi is not
 * finite. */
typedef struct {
  double hi, lo;
} aft_logit;

static inline aft_logit aft_logit_of(double k, double w) {
  aft_logit l = {-INFINITY, 0};
  if (k == -INFINITY || w == -INFINITY) return l;
  k *= 0.5;
  w *= 0.5;
  l.hi = k + w;
  double part = l.hi - k;
  l.lo = isfinite(l.hi) ? (k - (l.hi - part)) + (w - part) : 0;
  return l;
}

/* exp(x), without the way through the library's underflow where the result is 0 anyway: most terms of a lane that needs
 * the exact path are that far from the largest. */
static inline double aft_exp(double x) { return x < -746 ? 0 : exp(x); }

/* a - b in full, not halved; +Inf where b is the logit of nothing. */
static inline double aft_logit_minus(aft_logit a, aft_logit b) { return 2 * ((a.hi - b.hi) + (a.lo - b.lo)); }

/* sum_i exp(logit_i) x_i = exp(scale) num and sum_i exp(logit_i) = exp(scale) den, scale one of the logits and within 64
 * of the largest: nothing overflows, den is 0 for the empty sum alone, and a long slow rise costs few roundings. */
typedef struct {
  aft_logit scale;
  aft_sum num, den;
} aft_lse;

static inline aft_lse aft_lse_empty(void) { return (aft_lse){{-INFINITY, 0}, {0, 0}, {0, 0}}; }

/* Adds exp(l)*num and exp(l)*den. A logit of -Inf is a removed source, whatever num holds. NaN and +Inf spoil the sum for
 * good, also through a later raise of the scale. */
static inline void aft_lse_add(aft_lse *s, aft_logit l, double num, double den) {
  if (l.hi == -INFINITY) return;
  if (!(l.hi < INFINITY)) {
    *s = (aft_lse){{NAN, 0}, {NAN, 0}, {NAN, 0}};
    return;
  }
  double x = aft_logit_minus(l, s->scale);
  if (x > 64) {
    double f = aft_exp(-x);
    s->num.hi *= f;
    s->num.lo *= f;
    s->den.hi *= f;
    s->den.lo *= f;
    s->scale = l;
    x = 0;
  }
  double e = aft_exp(x);
  aft_sum_add(&s->num, e * num);
  aft_sum_add(&s->den, e * den);
}

/* The ratio of sums, 0 for the empty sum. */
static inline double aft_lse_ratio(const aft_lse *s) {
  double den = aft_sum_value(s->den);
  return den == 0 ? 0 : aft_sum_value(s->num) / den;
}

/* ---- a block of channels ------------------------------------------------------------------------------------------- */

/* The scale of one channel over the sources that a task may see. */
typedef struct {
  double key;   /* the largest finite K, 0 if there is none */
  double down;  /* a power of two: |V * down| < 2 for every source that K does not remove, as far as exponents reach */
  double up;    /* 1 / down */
  double bound; /* the largest |V * down|: no weighted mean is larger */
} aft_channel;

/* Channels first..first+n-1 of one batch entry's K (B,S,heads) and V (B,S,D); channel d has the key of head d / group. */
typedef struct {
  const aft_tensor *k, *v;
  size_t batch, sources, dim, heads, group;
  size_t first, n;
} aft_block;

aft_block aft_block_of(const aft_call *call, size_t batch, size_t first, size_t n);

/* Which channels a kernel computes: channel d of batch entry b is number b*D + d. NULL stands for all. */
typedef struct {
  const size_t *channel;
  size_t n;
} aft_channels;

/* How a kernel's channels are cut into blocks of at most `most`: numbers of blocks, and block i. */
size_t aft_block_count(const aft_call *call, const aft_channels *which, size_t most);
aft_block aft_block_at_index(const aft_call *call, const aft_channels *which, size_t most, size_t i);

/* K and V of source s, channel for channel. */
static inline void aft_block_load(const aft_block *b, size_t s, double *k, double *v) {
  size_t row = b->batch * b->sources + s;
  aft_load(v, b->v, row * b->dim + b->first, b->n);
  if (b->group == 1) {
    aft_load(k, b->k, row * b->heads + b->first, b->n);
    return;
  }
  for (size_t j = 0; j < b->n; j++) {
    size_t d = b->first + j;
    if (j > 0 && d % b->group != 0) {
      k[j] = k[j - 1];
    } else {
      aft_load(&k[j], b->k, row * b->heads + d / b->group, 1);
    }
  }
}

/* K and V of source s in channel j of the block, V scaled. */
static inline void aft_block_at(const aft_block *b, const aft_channel *ch, size_t s, size_t j, double *k, double *v) {
  size_t row = b->batch * b->sources + s, d = b->first + j;
  aft_load(k, b->k, row * b->heads + d / b->group, 1);
  aft_load(v, b->v, row * b->dim + d, 1);
  *v *= ch[j].down;
}

/* Fills ch from sources 0..upto-1. */
void aft_block_scan(const aft_block *b, size_t upto, aft_channel *ch);

/* row[j] = a V and row[n+j] = a with a = exp(K - key): the terms of num and den. A source that K removes gives 0 to both,
 * selected, not multiplied: its V may hold anything. */
void aft_block_terms(const aft_block *b, const aft_channel *ch, size_t s, double *row);

/* Whether num/den of the fast path can be trusted; also false for NaN. */
static inline int aft_trusted(double num, double den) {
  return den >= AFT_DEN_MIN && den <= AFT_DEN_MAX && fabs(num) <= AFT_DEN_MAX;
}

/* The ratio in the units of V. Rounding may lift a mean above the largest V by an ulp, which for V near the largest
 * double would be infinite. */
static inline double aft_settle(double ratio, const aft_channel *ch) {
  if (ratio > ch->bound) ratio = ch->bound;
  if (ratio < -ch->bound) ratio = -ch->bound;
  return ratio * ch->up;
}

#endif
