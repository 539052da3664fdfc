/* The kernels of one set of instructions: included once by each aft_simd_<instructions>.c. */
#include "aft_conv2d_simd.h"
#include "aft_full_simd.h"
#include "aft_line_simd.h"
#include "aft_simple_simd.h"
#include "aft_step_simd.h"
#include "aft_vec.h"

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
      .conv1d_each = simd_conv1d_each,                                                                                 \
      .conv2d = simd_conv2d,                                                                                           \
      .step = simd_step,                                                                                               \
  }
