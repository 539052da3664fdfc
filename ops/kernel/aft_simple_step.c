/* AFTSimpleStep: Q, K, V (B,T,D); m, n, d (B,D), the sums over all tokens so far; position, length (B).
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * (exp(m) n + sum_{i<=t} exp(K[b,i,d]) V[b,i,d]) / (exp(m) d + sum_{i<=t} exp(K[b,i,d]))
 *
 * m, n and d at [b,d]; after the chunk m is the largest key of all, exactly. */
#include "aft_simd.h"
#include "aft_step.h"

int aft_simple_step_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  return rc != AFT_OK ? rc : aft_check_chunk(call, &dims, AFT_NO_LIMIT, "", message);
}

static aft_step simple_step(const aft_call *call) {
  aft_step step = aft_step_of(call);
  step.window = 1;
  step.sums = 3;
  step.new_sums = 1;
  return step;
}

static int run_fast(const aft_fast *f) {
  aft_step step = simple_step(f->call);
  return aft_simd_for(f->host)->step(f, &step);
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  aft_step step = simple_step(call);
  (void)out;
  return aft_step_double(&step, host, which);
}

int aft_simple_step_run(const aft_call *call, const aft_host *host) {
  aft_step step = simple_step(call);
  return aft_step_run(&step, host, run_fast, run_double);
}
