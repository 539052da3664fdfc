/* Vectors of floats, in the vector types of GCC and clang: intrinsics only where those have no operator.
 *
 * Included by one aft_simd_<instructions>.c each, after it has chosen its instructions and defined one of AFT_AVX2,
 * AFT_AVX512, AFT_NEON, or none: then it is C for any machine. LANES is the number of floats in a vector, ROWS the number
 * of rows of a tile: the product of a tile keeps 2*ROWS vectors of sums in registers.
 *
 * A product and a sum are rounded once where the instructions can and twice elsewhere: bits differ between machines. */
#ifndef AFT_VEC_H
#define AFT_VEC_H

#include "aft_simd.h"

#if defined AFT_AVX512
enum { LANES = 16, ROWS = 12 };
#elif defined AFT_AVX2
enum { LANES = 8, ROWS = 6 };
#elif defined AFT_NEON
enum { LANES = 4, ROWS = 12 };
#else
enum { LANES = 4, ROWS = 4 };
#endif

#define VEC static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t vec_bits __attribute__((vector_size(4 * LANES))); /* of a comparison: all ones or zero */
typedef uint32_t vec_words __attribute__((vector_size(4 * LANES))); /* whose sums and shifts may overflow */
typedef float vec_anywhere __attribute__((vector_size(4 * LANES), aligned(1), may_alias));

VEC vec vec_load(const void *p) { return *(const vec_anywhere *)p; }
VEC void vec_store(void *p, vec x) { *(vec_anywhere *)p = x; }
VEC vec vec_aligned(const float *p) { return *(const vec *)(const void *)p; }
VEC void vec_store_aligned(float *p, vec x) { *(vec *)(void *)p = x; }

VEC vec vec_of(float x) {
#if defined AFT_AVX512
  return _mm512_set1_ps(x);
#elif defined AFT_AVX2
  return _mm256_set1_ps(x);
#elif defined AFT_NEON
  return vdupq_n_f32(x);
#else
  return (vec){x, x, x, x};
#endif
}

/* a*b + c. */
VEC vec vec_madd(vec a, vec b, vec c) {
#if defined AFT_AVX512
  return _mm512_fmadd_ps(a, b, c);
#elif defined AFT_AVX2
  return _mm256_fmadd_ps(a, b, c);
#elif defined AFT_NEON
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

/* x, in a register: or the compiler reads it again from memory for every use as an operand. */
VEC vec vec_held(vec x) {
#if defined AFT_AVX512 || defined AFT_AVX2
  __asm__("" : "+v"(x));
#elif defined AFT_NEON
  __asm__("" : "+w"(x));
#endif
  return x;
}

/* yes where the mask is all ones, no where it is zero. */
VEC vec vec_pick(vec_bits mask, vec yes, vec no) {
#if defined AFT_AVX2
  return _mm256_blendv_ps(no, yes, (vec)mask);
#else
  return (vec)((mask & (vec_bits)yes) | (~mask & (vec_bits)no));
#endif
}

/* yes where x has a minus sign, -0 and NaN included. */
VEC vec vec_pick_minus(vec x, vec yes, vec no) {
#if defined AFT_AVX512
  return _mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)x), no, yes);
#elif defined AFT_AVX2
  return _mm256_blendv_ps(no, yes, x);
#else
  return vec_pick((vec_bits)x < 0, yes, no);
#endif
}

/* The larger; b where one of them is NaN. */
VEC vec vec_max(vec a, vec b) {
#if defined AFT_AVX512
  return _mm512_max_ps(a, b);
#elif defined AFT_AVX2
  return _mm256_max_ps(a, b);
#else
  return vec_pick(a > b, a, b);
#endif
}

VEC int vec_any(vec_bits mask) {
#if defined AFT_AVX512
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined AFT_AVX2
  return _mm256_movemask_ps((vec)mask) != 0;
#elif defined AFT_NEON
  return vmaxvq_u32((uint32x4_t)mask) != 0;
#else
  return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}

VEC vec vec_magnitude(vec x) { return (vec)((vec_bits)x & INT32_MAX); }

/* ---- elements of operands ------------------------------------------------------------------------------------------ */

VEC vec vec_from_halves(const uint16_t *p) {
#if defined AFT_AVX512
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif defined AFT_AVX2
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined AFT_NEON
  uint16_t h[LANES];
  memcpy(h, p, sizeof h);
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
#else
  vec x;
  for (int j = 0; j < LANES; j++) {
    uint16_t h;
    memcpy(&h, (const char *)p + j * sizeof h, sizeof h);
    x[j] = (float)aft_half_to_double(h);
  }
  return x;
#endif
}

VEC void vec_to_halves(uint16_t *p, vec x) {
#if defined AFT_AVX512
  _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#elif defined AFT_AVX2
  _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#elif defined AFT_NEON
  uint16_t h[LANES];
  vst1_u16(h, vreinterpret_u16_f16(vcvt_f16_f32(x)));
  memcpy(p, h, sizeof h);
#else
  for (int j = 0; j < LANES; j++) {
    uint16_t h = aft_half_from_double(x[j]);
    memcpy((char *)p + j * sizeof h, &h, sizeof h);
  }
#endif
}

/* Elements i..i+n-1 of a float or float16 operand, n <= LANES; 0 in the lanes after them. */
VEC vec vec_read(const aft_tensor *t, size_t i, size_t n) {
  const char *p = t->data;
  if (t->dtype == AFT_FLOAT) {
    if (__builtin_expect(n == LANES, 1)) return vec_load(p + i * sizeof(float));
    vec x = {0};
    memcpy(&x, p + i * sizeof(float), n * sizeof(float));
    return x;
  }
  if (__builtin_expect(n == LANES, 1)) return vec_from_halves((const uint16_t *)(const void *)(p + i * sizeof(uint16_t)));
  uint16_t h[LANES] = {0};
  memcpy(h, p + i * sizeof *h, n * sizeof *h);
  return vec_from_halves(h);
}

/* Where element i is, which may lie past the end. */
VEC const void *vec_place(const aft_tensor *t, size_t i) {
  return (const void *)((uintptr_t)t->data + i * (t->dtype == AFT_FLOAT ? sizeof(float) : sizeof(uint16_t)));
}

/* Asks for element i, which may lie past the end: rows that a strip of channels reads are far apart, and what the machine
 * fetches by itself ends with a row. */
VEC void vec_fetch(const aft_tensor *t, size_t i) { __builtin_prefetch(vec_place(t, i)); }

/* The same for elements i..i+n-1. */
VEC void vec_fetch_row(const aft_tensor *t, size_t i, size_t n) {
  uintptr_t p = (uintptr_t)vec_place(t, i), end = (uintptr_t)vec_place(t, i + n);
  for (; p < end; p += AFT_LINE) __builtin_prefetch((const void *)p);
}

/* Asks for element i, into the second cache: where the first one is full of what is needed sooner. */
VEC void vec_fetch_far(const aft_tensor *t, size_t i) { __builtin_prefetch(vec_place(t, i), 0, 2); }

/* One element in every lane. */
VEC vec vec_read_one(const aft_tensor *t, size_t i) {
  if (t->dtype == AFT_FLOAT) {
    float x;
    memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
    return vec_of(x);
  }
  uint16_t h;
  memcpy(&h, (const char *)t->data + i * sizeof h, sizeof h);
  return vec_of((float)aft_half_to_double(h));
}

/* Rounds the first n lanes once and writes them from element i on. */
VEC void vec_write(void *out, int32_t dtype, size_t i, vec x, size_t n) {
  char *p = out;
  if (dtype == AFT_FLOAT) {
    if (__builtin_expect(n == LANES, 1)) {
      vec_store(p + i * sizeof(float), x);
    } else {
      memcpy(p + i * sizeof(float), &x, n * sizeof(float));
    }
    return;
  }
  if (__builtin_expect(n == LANES, 1)) {
    vec_to_halves((uint16_t *)(void *)(p + i * sizeof(uint16_t)), x);
    return;
  }
  uint16_t h[LANES];
  vec_to_halves(h, x);
  memcpy(p + i * sizeof *h, h, n * sizeof *h);
}

/* How many vectors are worked on at a time where there are many: a function of one is a chain of operations that each wait
 * for the one before, and other chains fill the gaps. Four keep within the registers. */
enum { BATCH = 4 };

#define EACH(j, n) _Pragma("GCC unroll 12") for (int j = 0; j < (n); j++)

/* ---- functions ----------------------------------------------------------------------------------------------------- */

/* exp(x) for x <= 88, with a relative error below 2^-22.5; 0 below -87.3 and of -Inf, 1 of 0, NaN of NaN.
 *
 * x = n ln 2 + r with |r| <= ln(2)/2: adding 1.5 * 2^23 rounds x / ln 2 to n and leaves it in the low bits. n ln 2 is
 * taken off in two parts, the first short enough for n times it to be exact. The polynomial is our own
 * minimax fit of exp on that interval (relative error 3.1e-9 in exact arithmetic). */
VEC void vec_exps(vec *x, const int n) {
  const vec integer = vec_of(0x1.8p23f);
  vec shifted[BATCH], r[BATCH], p[BATCH];
  EACH(j, n) shifted[j] = vec_madd(x[j], vec_of(0x1.715476p+0f), integer);
  EACH(j, n) r[j] = vec_madd(shifted[j] - integer, vec_of(-0x1.63p-1f), x[j]);
  EACH(j, n) r[j] = vec_madd(shifted[j] - integer, vec_of(0x1.bd0106p-13f), r[j]);
  EACH(j, n) p[j] = vec_madd(vec_of(0x1.6a2434p-10f), r[j], vec_of(0x1.1239e4p-7f));
  EACH(j, n) p[j] = vec_madd(p[j], r[j], vec_of(0x1.5558f2p-5f));
  EACH(j, n) p[j] = vec_madd(p[j], r[j], vec_of(0x1.555492p-3f));
  EACH(j, n) p[j] = vec_madd(p[j], r[j], vec_of(0x1.fffffcp-2f));
  EACH(j, n) p[j] = vec_madd(p[j], r[j], vec_of(1));
  EACH(j, n) p[j] = vec_madd(p[j], r[j], vec_of(1));
  EACH(j, n) p[j] *= (vec)(((vec_words)shifted[j] << 23) + (127u << 23));
  EACH(j, n) x[j] = (vec)((vec_bits)p[j] & ~(x[j] < vec_of(-87.3f)));
}

VEC vec vec_exp(vec x) {
  vec_exps(&x, 1);
  return x;
}

VEC vec vec_tanh(vec x) {
  /* (1-e)/(1+e) with e = exp(-2|x|) cancels near 0: there x + x^3 p(x^2), our own minimax fit up to 0.625 (4.4e-9). */
  vec size = vec_magnitude(x), e = vec_exp(vec_of(-2) * size), far = (vec_of(1) - e) / (vec_of(1) + e);
  vec z = x * x, p = vec_madd(vec_of(-0x1.75e11ap-8f), z, vec_of(0x1.522674p-6f));
  p = vec_madd(p, z, vec_of(-0x1.b83c54p-5f));
  p = vec_madd(p, z, vec_of(0x1.110726p-3f));
  p = vec_madd(p, z, vec_of(-0x1.555532p-2f));
  vec near = vec_madd(p * z, size, size);
  vec t = vec_pick(size < vec_of(0.625f), near, far);
  return (vec)((vec_bits)t | ((vec_bits)x & INT32_MIN));
}

/* num = gate(q) * num / den for n <= BATCH vectors. */
VEC void vec_gates(int64_t gate, const vec *q, vec *num, const vec *den, const int n) {
  if (__builtin_expect(gate == AFT_GATE_SIGMOID, 1)) {
    vec e[BATCH];
    EACH(j, n) e[j] = (vec)((vec_bits)q[j] | INT32_MIN); /* exp(-|q|) never overflows */
    vec_exps(e, n);
    EACH(j, n) num[j] = vec_pick_minus(q[j], e[j] * num[j], num[j]) / vec_madd(den[j], e[j], den[j]);
    return;
  }
  for (int j = 0; j < n; j++) {
    vec ratio = num[j] / den[j];
    num[j] = gate == AFT_GATE_ABSENT ? ratio : gate == AFT_GATE_TANH ? vec_tanh(q[j]) * ratio : q[j] * ratio;
  }
}

/* Y = gate(Q) * num/den * up for n <= BATCH vectors of `lanes` channels, from elements i, i+step ... on; absent, the gate
 * does not read Q. */
VEC void vec_finish_some(const aft_call *call, void *out, size_t i, size_t step, vec *num, const vec *den, const vec *up,
                         size_t lanes, const int n) {
  const aft_tensor *q = &call->in[0];
  vec x[BATCH];
  if (call->attrs.gate == AFT_GATE_ABSENT) {
    EACH(j, n) x[j] = vec_of(0);
  } else {
    EACH(j, n) x[j] = vec_read(q, i + (size_t)j * step, lanes);
  }
  vec_gates(call->attrs.gate, x, num, den, n);
  EACH(j, n) vec_write(out, q->dtype, i + (size_t)j * step, num[j] * up[j], lanes);
}

/* The same for any number of vectors. */
VEC void vec_finish_many(const aft_call *call, void *out, size_t i, size_t step, vec *num, const vec *den, const vec *up,
                         size_t lanes, size_t n) {
  size_t j = 0;
  for (; j + BATCH <= n; j += BATCH) {
    vec_finish_some(call, out, i + j * step, step, num + j, den + j, up + j, lanes, BATCH);
  }
  for (; j < n; j++) vec_finish_some(call, out, i + j * step, step, num + j, den + j, up + j, lanes, 1);
}

/* sum + lost += x, lost what rounding took (Kahan's sum). */
VEC void vec_add(vec *sum, vec *lost, vec x) {
  vec y = x - *lost, total = *sum + y;
  *lost = (total - *sum) - y;
  *sum = total;
}

/* Judges a channel by its sums over all sources and its largest |V|: marks it odd, or sets its factors and returns 1
 * where V must be scaled, which `scaled` says has been done. */
static inline int vec_judge(float num, float den, float top, int scaled, float *down, float *up, unsigned char *odd) {
  if (!scaled && top <= AFT_V_ODD && (top > AFT_V_LARGE || (top < AFT_V_SMALL && top > 0))) {
    int exponent;
    (void)frexpf(top, &exponent);
    exponent = exponent < -126 ? -126 : exponent;
    *down = ldexpf(1, -exponent);
    *up = ldexpf(1, exponent);
    return 1;
  }
  if (!(top <= AFT_V_ODD && fabsf(num) <= AFT_V_ODD && den <= AFT_V_ODD)) *odd = 1;
  return 0;
}

#endif
