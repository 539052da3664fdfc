/* AFTConv1DStep: Q, V (B,T,D), K (B,T,H), W (H,s); m, d (B,H) and n (B,D), the sums over the tokens that have left the
 * window; keys (B,s-1,H) and values (B,s-1,D), the last s-1 tokens, the oldest first; position, length (B).
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * sum_i exp(K_i + w_i) V_i / sum_i exp(K_i + w_i),   h = d / (D/H)
 *
 * over the tokens of the window with w_i = W[h, s-1 - how far back i is], and the sums with w = 0. */
#include "aft_simd.h"
#include "aft_step.h"

int aft_conv1d_step_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  if (rc == AFT_OK) rc = aft_check_heads(call, &dims, message);
  if (rc == AFT_OK) rc = aft_check_ring(call, message);
  return rc != AFT_OK ? rc : aft_check_chunk(call, &dims, AFT_NO_LIMIT, "", message);
}

static aft_step conv1d_step(const aft_call *call) {
  aft_step step = aft_step_of(call);
  aft_step_ring(&step);
  step.w_head = step.window;
  return step;
}

/* Narrower vectors serve smaller heads: the widest whose channels share a head. */
static int run_fast(const aft_fast *f) {
  aft_step step = conv1d_step(f->call);
  const aft_simd *all[AFT_SIMD_MOST], *wanted = aft_simd_for(f->host);
  size_t n = aft_simd_list(all);
  while (n > 0 && all[n - 1] != wanted) n--;
  for (; n > 0; n--) {
    if (all[n - 1]->conv1d_fits(f->call)) return all[n - 1]->step(f, &step);
  }
  return wanted->step(f, &step);
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  aft_step step = conv1d_step(call);
  (void)out;
  return aft_step_double(&step, host, which);
}

int aft_conv1d_step_run(const aft_call *call, const aft_host *host) {
  aft_step step = conv1d_step(call);
  return aft_step_run(&step, host, run_fast, run_double);
}
