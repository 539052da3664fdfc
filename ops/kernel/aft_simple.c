/* AFTSimple: Q (B,T,D), K and V (B,S,D); AFTFull with W = 0.
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * sum_s exp(K[b,s,d]) V[b,s,d] / sum_s exp(K[b,s,d])
 *
 * over all s: one ratio a channel, the same for every t; or s <= t when causal: running sums whose scale follows the
 * largest key so far. O(B (T+S) D) time, no memory. Neither needs an exact path: the key that sets the scale is one of
 * those summed, so den >= 1. */
#include "aft_simd.h"

typedef struct {
  const aft_call *call;
  void *out;
  const aft_channels *which;
  size_t t, d;
} simple_job;

int aft_simple_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  if (rc != AFT_OK) return rc;
  int64_t t = aft_dim(&dims, 'T'), s = aft_dim(&dims, 'S');
  return call->attrs.causal == 1 && s != t ? aft_fail_causal(call, s, t, message) : AFT_OK;
}

static size_t row_start(const simple_job *job, const aft_block *block, size_t t) {
  return (block->batch * job->t + t) * job->d + block->first;
}

static void run_causal(const simple_job *job, const aft_block *block, const aft_channel *ch) {
  aft_lse sum[AFT_LANES];
  double k[AFT_LANES], v[AFT_LANES], ratio[AFT_LANES];
  for (size_t j = 0; j < block->n; j++) sum[j] = aft_lse_empty();
  for (size_t t = 0; t < job->t; t++) {
    aft_block_load(block, t, k, v);
    for (size_t j = 0; j < block->n; j++) {
      aft_lse_add(&sum[j], aft_logit_of(k[j], 0), v[j] * ch[j].down, 1);
      ratio[j] = aft_settle(aft_lse_ratio(&sum[j]), &ch[j]);
    }
    aft_finish(job->call, job->out, row_start(job, block, t), ratio, block->n);
  }
}

static void run_all(const simple_job *job, const aft_block *block, const aft_channel *ch) {
  double hi[2 * AFT_LANES] = {0}, lo[2 * AFT_LANES] = {0}, terms[2 * AFT_LANES], same[AFT_LANES], ratio[AFT_LANES];
  size_t n = block->n;
  for (size_t s = 0; s < block->sources; s++) {
    aft_block_terms(block, ch, s, terms);
    aft_sums_add(hi, lo, terms, 2 * n);
  }
  for (size_t j = 0; j < n; j++) {
    double num = aft_sum_value((aft_sum){hi[j], lo[j]});
    double den = hi[n + j] + lo[n + j]; /* 0 where no source is left, NaN after a key of NaN or +Inf */
    same[j] = den == 0 ? 0 : aft_settle(num / den, &ch[j]);
  }
  for (size_t t = 0; t < job->t; t++) {
    memcpy(ratio, same, n * sizeof *ratio);
    aft_finish(job->call, job->out, row_start(job, block, t), ratio, n);
  }
}

static void run_task(void *arg, size_t i, double *scratch) {
  const simple_job *job = arg;
  aft_block block = aft_block_at_index(job->call, job->which, AFT_LANES, i);
  aft_channel ch[AFT_LANES];
  (void)scratch;
  aft_block_scan(&block, block.sources, ch);
  if (job->call->attrs.causal) {
    run_causal(job, &block, ch);
  } else {
    run_all(job, &block, ch);
  }
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  simple_job job = {call, out, which, (size_t)call->in[0].dims[1], (size_t)call->in[0].dims[2]};
  return aft_tasks(host, run_task, &job, aft_block_count(call, which, AFT_LANES), 0);
}

int aft_simple_run(const aft_call *call, const aft_host *host) {
  return aft_run_simd(call, call->out[0], host, aft_simd_for(host)->simple, run_double);
}
