/* The vector kernels for x86-64 with AVX-512 (F, BW, DQ, VL). What comes before the pragma stays code for every machine. */
#include "aft_simd.h"

#ifdef AFT_X86_VECTORS
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif

#define AFT_AVX512
#include "aft_simd_body.h"

const aft_simd aft_simd_avx512 = AFT_SIMD("avx512");

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
