/* AFTLocal: Q, K, V (B,T,D), band W (>=T, 2s-1), or (>=T, s) when causal, with s = window.
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * sum_t' exp(K[b,t',d] + w[t,t']) V[b,t',d] / sum_t' exp(K[b,t',d] + w[t,t'])
 *     w[t,t'] = W[t, t'-t+s-1] where |t-t'| < s, 0 elsewhere
 *
 * Elsewhere still counts. Entries of the band that point outside the sequence are never read. */
#include "aft_simd.h"
#include "aft_window.h"

int aft_local_check(const aft_call *call, char *message) {
  aft_dims dims;
  int64_t s = call->attrs.window;
  int rc = aft_check_call(call, &dims, message);
  if (rc == AFT_OK) rc = aft_within(call, "window", s, 1, INT32_MAX, "the paper's s", message);
  if (rc == AFT_OK) rc = aft_at_least(call, 3, 0, aft_dim(&dims, 'T'), "T", message);
  if (rc != AFT_OK) return rc;
  if (call->attrs.causal == 1) return aft_exactly(call, 3, 1, s, "window", message);
  return aft_exactly(call, 3, 1, 2 * s - 1, "2*window-1", message);
}

aft_window aft_local_window(const aft_call *call, void *out) {
  size_t width = (size_t)call->in[3].dims[1];
  aft_window window = {.call = call, .out = out, .rows = 1, .cols = (size_t)call->in[0].dims[1]};
  window.kernel_rows = 1;
  window.kernel_cols = width;
  window.left = (size_t)call->attrs.window - 1;
  window.w_position = width;
  return window;
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  return aft_window_run(aft_local_window(call, out), host, which);
}

int aft_local_run(const aft_call *call, const aft_host *host) {
  return aft_run_simd(call, call->out[0], host, aft_simd_for(host)->local, run_double);
}

int aft_local_pack(const aft_simd *simd, const aft_attrs *attrs, const aft_tensor *w, aft_packed **packed) {
  return w->rank == 2 ? simd->local_pack(attrs, w, packed) : AFT_OK;
}
