/* The vector kernels for arm64, where NEON is part of every processor. */
#include "aft_simd.h"

#if defined __aarch64__ && defined __GNUC__
#include <arm_neon.h>

#define AFT_NEON
#include "aft_simd_body.h"

const aft_simd aft_simd_neon = AFT_SIMD("neon");
#endif
