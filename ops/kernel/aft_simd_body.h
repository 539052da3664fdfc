/* The kernels of one set of instructions: included once by each aft_simd_<instructions>.c. */
#include "aft_conv2d_simd.h"
#include "aft_full_simd.h"
#include "aft_line_simd.h"
#include "aft_simple_simd.h"
#include "aft_vec.h"

static void simd_exp(const float *x, float *y, size_t n) {
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) vec_store(y + i, vec_exp(vec_load(x + i)));
  vec rest = {0};
  memcpy(&rest, x + i, (n - i) * sizeof *x);
  rest = vec_exp(rest);
  memcpy(y + i, &rest, (n - i) * sizeof *y);
}

#define AFT_SIMD(title)                                                                                                \
  {                                                                                                                    \
      .name = title,                                                                                                   \
      .simple = simd_simple,                                                                                           \
      .full = simd_full,                                                                                               \
      .full_pack = simd_full_pack,                                                                                     \
      .local = simd_local,                                                                                             \
      .local_pack = simd_local_pack,                                                                                   \
      .conv1d = simd_conv1d,                                                                                           \
      .conv1d_fits = simd_conv1d_fits,                                                                                 \
      .conv2d = simd_conv2d,                                                                                           \
      .exp = simd_exp,                                                                                                 \
  }
