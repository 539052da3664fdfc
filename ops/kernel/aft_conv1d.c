/* AFTConv1D: Q (B,T,D), K (B,T,H), V (B,T,D), W (H,s); h = d / (D/H) is the head of channel d.
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * sum_t' exp(K[b,t',h] + w[h,t,t']) V[b,t',d] / sum_t' exp(K[b,t',h] + w[h,t,t'])
 *     w[h,t,t'] = W[h, t'-t+pad_left] where 0 <= t'-t+pad_left < s, 0 elsewhere
 *
 * A correlation, as ONNX Conv. Causal limits the sums to t' <= t and so drops taps after pad_left. */
#include "aft_simd.h"
#include "aft_window.h"

int aft_conv1d_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  if (rc == AFT_OK) rc = aft_check_heads(call, &dims, message);
  if (rc == AFT_OK) rc = aft_at_least(call, 3, 1, 1, "1 tap", message);
  if (rc != AFT_OK) return rc;
  return aft_within(call, "pad_left", call->attrs.pad_left, 0, call->in[3].dims[1] - 1, "a tap of W", message);
}

aft_window aft_conv1d_window(const aft_call *call, void *out) {
  size_t taps = (size_t)call->in[3].dims[1];
  aft_window window = {.call = call, .out = out, .rows = 1, .cols = (size_t)call->in[0].dims[1]};
  window.kernel_rows = 1;
  window.kernel_cols = taps;
  window.left = (size_t)call->attrs.pad_left;
  window.w_head = taps;
  return window;
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  return aft_window_run(aft_conv1d_window(call, out), host, which);
}

/* Narrower vectors serve smaller heads: the widest whose channels share a head. */
int aft_conv1d_run(const aft_call *call, const aft_host *host) {
  const aft_simd *all[AFT_SIMD_MOST], *wanted = aft_simd_for(host);
  size_t n = aft_simd_list(all);
  while (n > 0 && all[n - 1] != wanted) n--;
  for (; n > 0; n--) {
    if (all[n - 1]->conv1d_fits(call)) return aft_run_simd(call, call->out[0], host, all[n - 1]->conv1d, run_double);
  }
  return aft_run_simd(call, call->out[0], host, wanted->conv1d_each, run_double);
}

/* Nothing is packed: W is small, and a task makes the weights of its heads once for all positions. */
int aft_conv1d_pack(const aft_simd *simd, const aft_attrs *attrs, const aft_tensor *w, aft_packed **packed) {
  (void)simd, (void)attrs, (void)w, (void)packed;
  return AFT_OK;
}
