/* AFTFull: Q (B,T,D), K and V (B,S,D), W (>=T,>=S).
 *
 *     Y[b,t,d] = gate(Q[b,t,d]) * sum_s exp(K[b,s,d] + W[t,s]) V[b,s,d] / sum_s exp(K[b,s,d] + W[t,s])
 *
 * over all s, or s <= t when causal. The exponential splits, so both sums are products of one T x S matrix exp(W) with an
 * S x 2D matrix [exp(K)V | exp(K)]: O(B T S D) multiplications, O(B S D + T S) exponentials a block. A task takes ROWS
 * query positions of a block of channels and walks over the sources AFT_RUN at a time, so its memory does not grow with
 * T or S. */
#include "aft_simd.h"

enum { ROWS = 128 };

typedef struct {
  const aft_call *call;
  void *out;
  const aft_channels *which;
  size_t t, s, d, stride; /* T, S, D, columns of W */
  size_t row_blocks;
} full_job;

int aft_full_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  if (rc != AFT_OK) return rc;
  int64_t t = aft_dim(&dims, 'T'), s = aft_dim(&dims, 'S');
  if (call->attrs.causal == 1 && s != t) return aft_fail_causal(call, s, t, message);
  rc = aft_at_least(call, 3, 0, t, "T", message);
  return rc != AFT_OK ? rc : aft_at_least(call, 3, 1, s, "S", message);
}

/* How many sources position t sees. */
static size_t visible(const full_job *job, size_t t) { return job->call->attrs.causal ? t + 1 : job->s; }

/* The largest finite bias of row t, 0 if there is none. */
static double largest_bias(const full_job *job, size_t t) {
  double w[AFT_RUN], top = -INFINITY;
  size_t count = visible(job, t);
  for (size_t s = 0; s < count; s += AFT_RUN) {
    size_t n = aft_min(AFT_RUN, count - s);
    aft_load(w, &job->call->in[3], t * job->stride + s, n);
    for (size_t i = 0; i < n; i++) {
      if (w[i] > top && w[i] < INFINITY) top = w[i];
    }
  }
  return top > -INFINITY ? top : 0;
}

/* One (t,d) from the logits themselves: O(S) exponentials. */
static double exact(const full_job *job, const aft_block *block, const aft_channel *ch, size_t t, size_t j) {
  aft_lse sum = aft_lse_empty();
  size_t count = visible(job, t);
  for (size_t s = 0; s < count; s++) {
    double k, v, w;
    aft_block_at(block, ch, s, j, &k, &v);
    aft_load(&w, &job->call->in[3], t * job->stride + s, 1);
    aft_lse_add(&sum, aft_logit_of(k, w), v, 1);
  }
  return aft_lse_ratio(&sum);
}

/* Adds the terms of sources first..first+n-1, which stand in `terms`, to [num | den] of row t. */
static void add_sources(const full_job *job, size_t t, double bias, size_t first, size_t n, const double *terms,
                        size_t width, double *sums) {
  double w[AFT_RUN];
  size_t count = visible(job, t);
  if (count <= first) return;
  n = aft_min(n, count - first);
  aft_load(w, &job->call->in[3], t * job->stride + first, n);
  for (size_t i = 0; i < n; i++) w[i] = exp(w[i] - bias);
  aft_weigh(sums, w, terms, n, width);
}

static void finish_row(const full_job *job, const aft_block *block, const aft_channel *ch, size_t t, const double *sums) {
  double ratio[AFT_LANES];
  for (size_t j = 0; j < block->n; j++) {
    double num = sums[j], den = sums[block->n + j];
    ratio[j] = aft_settle(aft_trusted(num, den) ? num / den : exact(job, block, ch, t, j), &ch[j]);
  }
  aft_finish(job->call, job->out, (block->batch * job->t + t) * job->d + block->first, ratio, block->n);
}

/* Scratch: terms (AFT_RUN, 2n), sums (ROWS, 2n). */
static void run_task(void *arg, size_t i, double *scratch) {
  const full_job *job = arg;
  size_t t0 = i % job->row_blocks * ROWS, rows = aft_min(ROWS, job->t - t0);
  aft_block block = aft_block_at_index(job->call, job->which, AFT_LANES, i / job->row_blocks);
  size_t width = 2 * block.n, upto = visible(job, t0 + rows - 1);
  double *terms = scratch, *sums = scratch + AFT_RUN * width, bias[ROWS];
  aft_channel ch[AFT_LANES];

  aft_block_scan(&block, upto, ch);
  for (size_t r = 0; r < rows; r++) bias[r] = largest_bias(job, t0 + r);
  for (size_t j = 0; j < rows * width; j++) sums[j] = 0;
  for (size_t s = 0; s < upto; s += AFT_RUN) {
    size_t n = aft_min(AFT_RUN, upto - s);
    for (size_t k = 0; k < n; k++) aft_block_terms(&block, ch, s + k, terms + k * width);
    for (size_t r = 0; r < rows; r++) add_sources(job, t0 + r, bias[r], s, n, terms, width, sums + r * width);
  }
  for (size_t r = 0; r < rows; r++) finish_row(job, &block, ch, t0 + r, sums + r * width);
}

static full_job job_of(const aft_call *call, void *out, const aft_channels *which) {
  const aft_tensor *q = &call->in[0];
  full_job job = {.call = call, .out = out, .which = which, .t = (size_t)q->dims[1], .s = (size_t)call->in[1].dims[1]};
  job.d = (size_t)q->dims[2];
  job.stride = (size_t)call->in[3].dims[1];
  job.row_blocks = aft_div_up(job.t, ROWS);
  return job;
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  full_job job = job_of(call, out, which);
  size_t width = 2 * aft_min(AFT_LANES, job.d), tasks = aft_block_count(call, which, AFT_LANES) * job.row_blocks;
  return aft_tasks(host, run_task, &job, tasks, (AFT_RUN + aft_min(ROWS, job.t)) * width);
}

void aft_full_exact(const aft_call *call, void *out, size_t batch, size_t t, size_t d) {
  full_job job = job_of(call, out, NULL);
  aft_block block = aft_block_of(call, batch, d, 1);
  aft_channel ch;
  aft_block_scan(&block, visible(&job, t), &ch);
  double ratio = aft_settle(exact(&job, &block, &ch, t, 0), &ch);
  aft_finish(call, out, (batch * job.t + t) * job.d + d, &ratio, 1);
}

int aft_full_run(const aft_call *call, const aft_host *host) {
  if (call->in[1].dims[1] == 0) return run_double(call, call->out[0], host, NULL); /* nothing to sum: 0 */
  return aft_run_simd(call, call->out[0], host, aft_simd_for(host)->full, run_double);
}

int aft_full_pack(const aft_simd *simd, const aft_attrs *attrs, const aft_tensor *w, aft_packed **packed) {
  return w->rank == 2 ? simd->full_pack(attrs, w, packed) : AFT_OK;
}
