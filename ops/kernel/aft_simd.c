#include "aft_simd.h"

extern const aft_simd aft_simd_portable;
#ifdef AFT_X86_VECTORS
extern const aft_simd aft_simd_avx2, aft_simd_avx512;
#elif defined __aarch64__ && defined __GNUC__
extern const aft_simd aft_simd_neon;
#endif

size_t aft_simd_list(const aft_simd *all[AFT_SIMD_MOST]) {
  size_t n = 0;
  all[n++] = &aft_simd_portable;
#ifdef AFT_X86_VECTORS
  int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (avx2) all[n++] = &aft_simd_avx2;
  if (avx2 && avx512) all[n++] = &aft_simd_avx512;
#elif defined __aarch64__ && defined __GNUC__
  all[n++] = &aft_simd_neon;
#endif
  return n;
}

const char *aft_instructions(size_t i) {
  const aft_simd *all[AFT_SIMD_MOST];
  return i < aft_simd_list(all) ? all[i]->name : NULL;
}

const aft_simd *aft_simd_for(const aft_host *host) {
  const aft_simd *all[AFT_SIMD_MOST];
  size_t n = aft_simd_list(all);
  return all[host->instructions > 0 ? aft_min(host->instructions, n) - 1 : n - 1];
}

static int run_odd(const aft_fast *f, size_t channels, size_t n,
                   int (*slow)(const aft_call *, void *, const aft_host *, const aft_channels *)) {
  size_t *list = aft_take(f->host, n * sizeof *list), at = 0;
  if (list == NULL) return AFT_NO_MEMORY;
  for (size_t i = 0; i < channels; i++) {
    if (f->odd[i]) list[at++] = i;
  }
  aft_channels which = {list, n};
  int rc = slow(f->call, f->out, f->host, &which);
  aft_give_back(f->host, list);
  return rc;
}

int aft_run_simd(const aft_call *call, void *out, const aft_host *host, int (*fast)(const aft_fast *f),
                 int (*slow)(const aft_call *call, void *out, const aft_host *host, const aft_channels *which)) {
  if (call->in[0].dtype == AFT_DOUBLE) return slow(call, out, host, NULL);
  aft_call unpacked = *call;
  if (call->packed != NULL && call->packed->simd != aft_simd_for(host)) {
    unpacked.packed = NULL;
    call = &unpacked;
  }
  size_t channels = (size_t)call->in[0].dims[0] * (size_t)call->in[0].dims[2], n = 0;
  aft_fast f = {call, out, host, aft_take(host, channels)};
  if (f.odd == NULL) return AFT_NO_MEMORY;
  memset(f.odd, 0, channels);
  int rc = fast(&f);
  for (size_t i = 0; i < channels; i++) n += f.odd[i];
  if (rc == AFT_OK && n > 0) rc = run_odd(&f, channels, n, slow);
  aft_give_back(host, f.odd);
  return rc;
}

int aft_pack(const aft_op *op, const aft_attrs *attrs, const aft_tensor *w, const aft_host *host, aft_packed **packed) {
  const aft_simd *simd = aft_simd_for(host);
  *packed = NULL;
  if (op->pack == NULL || (w->dtype != AFT_FLOAT && w->dtype != AFT_FLOAT16)) return AFT_OK;
  for (int i = 0; i < w->rank; i++) {
    if (w->dims[i] <= 0) return AFT_OK;
  }
  int rc = op->pack(simd, attrs, w, packed);
  if (*packed != NULL) (*packed)->simd = simd;
  return rc;
}

void aft_unpack(aft_packed *packed) { free(packed); }
