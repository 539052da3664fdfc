/* AFTFullStep: Q, K, V (B,T,D), W (R,>=C); keys, values (B,C,D), token i in slot i; position, length (B).
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * sum_i exp(K_i + W[p,i]) V_i / sum_i exp(K_i + W[p,i]),   p = position[b] + t
 *
 * over all tokens i <= p. C, the capacity, and R end the positions. */
#include "aft_simd.h"
#include "aft_step.h"

int aft_full_step_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  if (rc == AFT_OK) rc = aft_at_least(call, 3, 1, aft_dim(&dims, 'C'), "C", message);
  if (rc == AFT_OK) rc = aft_check_chunk(call, &dims, call->in[3].dims[0], "rows of W", message);
  return rc != AFT_OK ? rc : aft_check_chunk(call, &dims, aft_dim(&dims, 'C'), "slots of keys", message);
}

static aft_step full_step(const aft_call *call) {
  aft_step step = aft_step_of(call);
  step.window = AFT_EVERYTHING;
  step.cache = 1;
  step.w = 3;
  step.tokens = 4;
  step.new_tokens = 1;
  step.slots = (size_t)call->in[4].dims[1];
  step.w_position = (size_t)call->in[3].dims[1] + 1;
  return step;
}

static int run_fast(const aft_fast *f) {
  aft_step step = full_step(f->call);
  return aft_simd_for(f->host)->step(f, &step);
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  aft_step step = full_step(call);
  (void)out;
  return aft_step_double(&step, host, which);
}

int aft_full_step_run(const aft_call *call, const aft_host *host) {
  aft_step step = full_step(call);
  return aft_step_run(&step, host, run_fast, run_double);
}
