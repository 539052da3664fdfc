/* The vector kernels for any machine, and the twin that the others are tested against. */
#include "aft_simd_body.h"

const aft_simd aft_simd_portable = AFT_SIMD("portable");
