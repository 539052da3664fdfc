/* The kernels of float and float16, a vector of channels at a time, for the machine at hand.
 *
 * They are written once, in aft_vec.h and one aft_<op>_simd.h an operator, and compiled once for every set of
 * instructions, in aft_simd_<instructions>.c; which one runs is decided at run time. All arithmetic is in float:
 *
 *     a[s,d] = exp(K[s,d] - key),  key near the largest K of the channel,
 *     E[t,s] = exp(W[t,s] - bias), bias the largest W of the row (and the 0 outside a window).
 *
 * Three things float cannot do, and how each is found and left to someone else, so that it cannot be missed:
 *
 *  - A sum too small. A factor or product below 2^-126 loses digits or becomes 0. Over S terms that shifts den by less
 *    than S * 2^-125, and num by that times the largest |V|. Where den >= S * AFT_DEN_TINY that is 2^-63 of it. Where it
 *    is not, that (t,d) is computed from the logits K + W.
 *  - A channel that is odd: NaN or an infinity in V, NaN or +Inf in K, V near the largest float. Every term of the
 *    channel is in some sum that is looked at when all are in: it is NaN, infinite or huge. The whole channel is computed
 *    again by the kernels in double.
 *  - V too small or large for products with exp: the largest |V| is known when all sources have been read; where it lies
 *    outside AFT_V_SMALL..AFT_V_LARGE, the channel is computed again with V times a power of two. */
#ifndef AFT_SIMD_H
#define AFT_SIMD_H

#include "aft_internal.h"

#define AFT_DEN_TINY 0x1p-62f
#define AFT_V_SMALL 0x1p-36f
#define AFT_V_LARGE 0x1p90f
#define AFT_V_ODD 0x1p120f

/* How far a key may lie above the key that the running sums of its channel refer to, before that is raised: small, as
 * the rounding of K - key grows with it; not 0, as raising costs. */
#define AFT_RAISE 8.0f

/* The bytes of a cache line: tasks that write do not share one, vectors do not straddle two. */
enum { AFT_LINE = 64 };

/* Marks channel d of batch entry b, odd[b*D + d] = 1, where the kernels in double shall compute the channel again. */
typedef struct {
  const aft_call *call;
  void *out;
  const aft_host *host;
  unsigned char *odd;
} aft_fast;

/* Memory that is cut into arrays of floats, each from a cache line on: aft_room moves *at over an array of n floats and
 * returns where it begins; aft_line is the first line in p; aft_doubles the size of such memory in scratch of doubles. */
static inline size_t aft_room(size_t *at, size_t n) {
  enum { FLOATS = AFT_LINE / sizeof(float) };
  size_t begin = *at;
  *at = aft_add(begin, aft_mul(aft_div_up(n, FLOATS), FLOATS));
  return begin;
}

static inline float *aft_line(void *p) {
  return (float *)(((uintptr_t)p + AFT_LINE - 1) / AFT_LINE * AFT_LINE);
}

static inline size_t aft_doubles(size_t floats) { return aft_add(aft_div_up(floats, 2), AFT_LINE / sizeof(double)); }

/* What aft_packed begins with. */
struct aft_packed {
  const aft_simd *simd; /* whose layout it has */
};

/* Memory for a packed W: `head` bytes for what begins with aft_packed, and n floats from a cache line on, *floats. NULL where
 * there is none. free() takes it back. */
static inline void *aft_pack_memory(size_t head, size_t n, float **floats) {
  size_t bytes = aft_add(aft_mul(n, sizeof(float)), head + AFT_LINE);
  char *p = bytes > PTRDIFF_MAX ? NULL : malloc(bytes);
  if (p != NULL) *floats = aft_line(p + head);
  return p;
}

typedef struct aft_step aft_step;

struct aft_simd {
  const char *name; /* "avx2" */
  int (*simple)(const aft_fast *f);
  int (*full)(const aft_fast *f);
  int (*local)(const aft_fast *f);
  int (*conv1d)(const aft_fast *f); /* where the channels of a vector share a head: conv1d_fits */
  int (*conv1d_each)(const aft_fast *f);
  int (*conv1d_fits)(const aft_call *call);
  int (*conv2d)(const aft_fast *f);
  int (*step)(const aft_fast *f, const aft_step *step);
  int (*full_pack)(const aft_attrs *attrs, const aft_tensor *w, aft_packed **packed);
  int (*local_pack)(const aft_attrs *attrs, const aft_tensor *w, aft_packed **packed);
};


/* Y of one (b,t,d) of AFTFull by the exact path in double. */
void aft_full_exact(const aft_call *call, void *out, size_t batch, size_t t, size_t d);

/* GCC for Windows does not align the stack for vectors of 32 bytes: there the plain build serves. */
#if defined __x86_64__ && defined __GNUC__ && (!defined _WIN32 || defined __clang__)
#define AFT_X86_VECTORS
#endif

/* Those that this machine runs, the best last; returns how many. */
enum { AFT_SIMD_MOST = 3 };
size_t aft_simd_list(const aft_simd *all[AFT_SIMD_MOST]);

/* The one that the host wants, the best if it does not say. */
const aft_simd *aft_simd_for(const aft_host *host);

/* Runs `fast` for float and float16, then `slow` for the channels that are odd; `slow` for all of double. */
int aft_run_simd(const aft_call *call, void *out, const aft_host *host, int (*fast)(const aft_fast *f),
                 int (*slow)(const aft_call *call, void *out, const aft_host *host, const aft_channels *which));

#endif
