/* AFTLocalStep: Q, K, V (B,T,D), band W (R,s); m, n, d (B,D), the sums over the tokens that have left the window; keys,
 * values (B,s-1,D), the last s-1 tokens, the oldest first; position, length (B).
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * sum_i exp(K_i + w_i) V_i / sum_i exp(K_i + w_i)
 *
 * over the tokens of the window with w_i = W[position+t, s-1 - how far back i is], and the sums with w = 0. */
#include "aft_simd.h"
#include "aft_step.h"

int aft_local_step_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  if (rc == AFT_OK) rc = aft_check_ring(call, message);
  return rc != AFT_OK ? rc : aft_check_chunk(call, &dims, call->in[3].dims[0], "rows of W", message);
}

static aft_step local_step(const aft_call *call) {
  aft_step step = aft_step_of(call);
  aft_step_ring(&step);
  step.w_position = step.window;
  return step;
}

static int run_fast(const aft_fast *f) {
  aft_step step = local_step(f->call);
  return aft_simd_for(f->host)->step(f, &step);
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  aft_step step = local_step(call);
  (void)out;
  return aft_step_double(&step, host, which);
}

int aft_local_step_run(const aft_call *call, const aft_host *host) {
  aft_step step = local_step(call);
  return aft_step_run(&step, host, run_fast, run_double);
}
