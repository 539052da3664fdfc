#include "aft_step.h"

#include <inttypes.h>

enum {
  STEP_LANES = AFT_LANES,   /* most channels of a task */
  STEP_COPY = (size_t)1 << 18 /* bytes of keys and values that a task copies */
};

/* ---- the call ------------------------------------------------------------------------------------------------------ */

aft_step aft_step_of(const aft_call *call) {
  const aft_tensor *q = &call->in[0];
  aft_step step = {.call = call, .batches = (size_t)q->dims[0], .t = (size_t)q->dims[1], .dim = (size_t)q->dims[2]};
  step.heads = (size_t)call->in[1].dims[2];
  step.group = step.heads > 0 ? step.dim / step.heads : 1;
  return step;
}

void aft_step_ring(aft_step *step) {
  step->window = (size_t)step->call->in[3].dims[1];
  step->slots = step->window - 1;
  step->w = 3;
  step->sums = 4;
  step->tokens = 7;
  step->new_sums = 1;
  step->new_tokens = 4;
  step->w_first = step->window - 1;
}

static int64_t integer_at(const aft_tensor *t, size_t i) {
  int64_t x;
  memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
  return x;
}

aft_sequence aft_sequence_of(const aft_step *step, size_t b) {
  const aft_tensor *in = step->call->in;
  int last = step->call->n_in - 1;
  aft_sequence q = {.b = b, .position = (size_t)integer_at(&in[last - 1], b), .length = (size_t)integer_at(&in[last], b)};
  q.held = aft_min(q.position, step->slots);
  q.past = step->sums > 0 && q.position >= step->window;
  return q;
}

int aft_check_chunk(const aft_call *call, const aft_dims *dims, int64_t limit, const char *what, char *message) {
  const aft_tensor *position = &call->in[call->n_in - 2], *length = &call->in[call->n_in - 1];
  int64_t t = aft_dim(dims, 'T');
  if (position->data == NULL || length->data == NULL) return AFT_OK;
  for (int64_t b = 0; b < position->dims[0]; b++) {
    int64_t p = integer_at(position, (size_t)b), n = integer_at(length, (size_t)b);
    if (n < 0 || n > t) {
      return aft_fail(call, message, "input \"length\": is %" PRId64 " for sequence %" PRId64 ", want 0..T = %" PRId64, n, b, t);
    }
    if (p < 0) {
      return aft_fail(call, message, "input \"position\": is %" PRId64 " for sequence %" PRId64 ", want 0 or more", p, b);
    }
    if (p > limit - n) {
      return aft_fail(call, message,
                      "input \"position\": is %" PRId64 " for sequence %" PRId64 ", and %" PRId64
                      " more tokens want %s, which has %" PRId64,
                      p, b, n, what, limit);
    }
  }
  return AFT_OK;
}

int aft_check_ring(const aft_call *call, char *message) {
  int rc = aft_at_least(call, 3, 1, 1, "1", message);
  for (int i = 7; i < 9 && rc == AFT_OK; i++) rc = aft_exactly(call, i, 1, call->in[3].dims[1] - 1, "s-1", message);
  return rc;
}

/* ---- keys and values ----------------------------------------------------------------------------------------------- */

static size_t size_of(int32_t dtype) { return dtype == AFT_DOUBLE ? 8 : dtype == AFT_FLOAT ? 4 : 2; }

/* Writes n elements of the number that keys hold where there is no token: the lowest finite one. */
static void empty_keys(char *to, int32_t dtype, size_t n) {
  if (dtype == AFT_DOUBLE) {
    for (size_t i = 0; i < n; i++) memcpy(to + i * sizeof(double), &(double){-DBL_MAX}, sizeof(double));
  } else if (dtype == AFT_FLOAT) {
    for (size_t i = 0; i < n; i++) memcpy(to + i * sizeof(float), &(float){-FLT_MAX}, sizeof(float));
  } else {
    for (size_t i = 0; i < n; i++) memcpy(to + i * sizeof(uint16_t), &(uint16_t){0xfbff}, sizeof(uint16_t));
  }
}

/* Slots from..to-1 of what renews a past (B,slots,columns) by a chunk (B,T,columns). */
static void keep_slots(const aft_step *step, const aft_sequence *q, int values, size_t columns, size_t from, size_t to) {
  const aft_call *call = step->call;
  int32_t dtype = call->in[0].dtype;
  size_t row = columns * size_of(dtype), tokens = q->held + q->length, kept = aft_min(tokens, step->slots);
  size_t first = step->cache ? 0 : step->slots - kept; /* the slot of the oldest token that is kept */
  char *out = (char *)call->out[step->new_tokens + values] + q->b * step->slots * row;
  for (size_t slot = from, n; slot < to; slot += n) {
    n = aft_min(to, slot < first ? first : step->slots) - slot;
    if (slot < first || slot >= first + kept) {
      if (values) {
        memset(out + slot * row, 0, n * row);
      } else {
        empty_keys(out + slot * row, dtype, n * columns);
      }
      continue;
    }
    size_t token = tokens - kept + (slot - first); /* what follows it in memory ends with the past, or with the chunk */
    aft_token at = aft_token_at(step, q, token);
    n = aft_min(aft_min(to, first + kept) - slot, (token < q->held ? q->held : tokens) - token);
    memcpy(out + slot * row, (const char *)(values ? at.v : at.k)->data + at.row * row, n * row);
  }
}

/* How many slots a task copies. */
static size_t slots_at_once(const aft_step *step) {
  size_t row = (step->dim + step->heads) * size_of(step->call->in[0].dtype);
  return row == 0 ? step->slots : aft_div_up(STEP_COPY, row);
}

size_t aft_step_copies(const aft_step *step) {
  if (step->tokens == 0 || step->slots == 0 || step->heads == 0) return 0;
  return step->batches * aft_div_up(step->slots, slots_at_once(step));
}

void aft_step_copy(const aft_step *step, size_t i) {
  size_t n = slots_at_once(step), pieces = aft_div_up(step->slots, n), from = i % pieces * n, to = aft_min(step->slots, from + n);
  aft_sequence q = aft_sequence_of(step, i / pieces);
  keep_slots(step, &q, 0, step->heads, from, to);
  if (step->dim > 0) keep_slots(step, &q, 1, step->dim, from, to);
}

void aft_step_pad(const aft_step *step, const aft_sequence *q, size_t first, size_t n) {
  size_t size = size_of(step->call->in[0].dtype);
  char *y = (char *)step->call->out[0];
  for (size_t t = q->length; t < step->t; t++) memset(y + ((q->b * step->t + t) * step->dim + first) * size, 0, n * size);
}

/* ---- double -------------------------------------------------------------------------------------------------------- */

/* Channels first..first+n-1 of a sequence, of one head where W has one row a head. */
typedef struct {
  const aft_step *step;
  aft_sequence q;
  size_t first, n, width;
  aft_channel ch[STEP_LANES];
  aft_lse left[STEP_LANES]; /* the tokens that have left the window */
  double gone[STEP_LANES];  /* their largest key */
  double *terms;           /* (tokens, width): [a V | a] with a = exp(K - key) */
  double *weights;         /* (tokens): exp(bias - shift) of a row */
} step_block;

static void load_token(const step_block *p, size_t i, double *k, double *v) {
  aft_token at = aft_token_at(p->step, &p->q, i);
  aft_load(v, at.v, at.row * p->step->dim + p->first, p->n);
  for (size_t j = 0; j < p->n; j++) {
    size_t d = p->first + j;
    if (j > 0 && d % p->step->group != 0) {
      k[j] = k[j - 1];
    } else {
      aft_load(&k[j], at.k, at.row * p->step->heads + d / p->step->group, 1);
    }
  }
}

static void token_of(const step_block *p, size_t i, size_t j, double *k, double *v) {
  aft_token at = aft_token_at(p->step, &p->q, i);
  size_t d = p->first + j;
  aft_load(k, at.k, at.row * p->step->heads + d / p->step->group, 1);
  aft_load(v, at.v, at.row * p->step->dim + d, 1);
  *v *= p->ch[j].down;
}

/* m, n and d of channel j; whether any token is in them. */
static int past_of(const step_block *p, size_t j, double *m, double *n, double *den) {
  const aft_step *step = p->step;
  size_t d = p->first + j, head = p->q.b * step->heads + d / step->group;
  if (!p->q.past) return 0;
  aft_load(m, &step->call->in[step->sums], head, 1);
  aft_load(n, &step->call->in[step->sums + 1], p->q.b * step->dim + d, 1);
  aft_load(den, &step->call->in[step->sums + 2], head, 1);
  return *den != 0 && *m != -INFINITY;
}

static void see(double *top, double *bound, double size) {
  if (size > *top && size < INFINITY) *top = size;
  if (size == INFINITY) *bound = INFINITY;
}

/* The scales of the channels, over the tokens 0..upto-1 and the sums; then the sums themselves. */
static void begin(step_block *p, size_t upto) {
  double k[STEP_LANES], v[STEP_LANES], top[STEP_LANES], key[STEP_LANES], bound[STEP_LANES], m, n, den;
  for (size_t j = 0; j < p->n; j++) {
    key[j] = -INFINITY;
    top[j] = bound[j] = 0;
    if (!past_of(p, j, &m, &n, &den)) continue;
    if (m < INFINITY) key[j] = m;
    see(&top[j], &bound[j], fabs(n / den));
  }
  for (size_t i = 0; i < upto; i++) {
    load_token(p, i, k, v);
    for (size_t j = 0; j < p->n; j++) {
      if (k[j] > key[j] && k[j] < INFINITY) key[j] = k[j];
      if (k[j] != -INFINITY) see(&top[j], &bound[j], fabs(v[j]));
    }
  }
  for (size_t j = 0; j < p->n; j++) {
    int exponent = 0;
    aft_channel *ch = &p->ch[j];
    (void)frexp(top[j], &exponent); /* top = f * 2^exponent with f in [0.5,1) */
    exponent = exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent;
    *ch = (aft_channel){key[j] > -INFINITY ? key[j] : 0, ldexp(1, -exponent), ldexp(1, exponent), bound[j]};
    /* The mean of the sums was rounded when they were stored. */
    if (ch->bound == 0) ch->bound = top[j] * ch->down * (p->q.past ? 1 + 0x1p-20 : 1);
    p->left[j] = aft_lse_empty();
    p->gone[j] = -INFINITY;
    if (!past_of(p, j, &m, &n, &den)) continue;
    aft_lse_add(&p->left[j], aft_logit_of(m, 0), n * ch->down, den);
    p->gone[j] = m;
  }
}

/* Token i leaves the window. */
static void leave(step_block *p, size_t i) {
  double k[STEP_LANES], v[STEP_LANES];
  load_token(p, i, k, v);
  for (size_t j = 0; j < p->n; j++) {
    aft_lse_add(&p->left[j], aft_logit_of(k[j], 0), v[j] * p->ch[j].down, 1);
    if (k[j] > p->gone[j] || isnan(k[j])) p->gone[j] = k[j];
  }
}

/* The biases of row t for n tokens from lo on. */
static void biases(const step_block *p, size_t t, size_t lo, size_t n, double *w) {
  const aft_step *step = p->step;
  if (step->w == 0) {
    memset(w, 0, n * sizeof *w);
    return;
  }
  size_t back = p->q.held + t - lo; /* how far before the row's own token */
  aft_load(w, &step->call->in[step->w], aft_step_bias(step, &p->q, t, p->first / step->group) - back, n);
}

/* The ratio of row t of channel j from the logits. */
static double exact_ratio(const step_block *p, size_t t, size_t lo, size_t j) {
  aft_lse sum = p->left[j];
  size_t own = p->q.held + t;
  for (size_t i = lo; i <= own; i++) {
    double k, v, w;
    token_of(p, i, j, &k, &v);
    biases(p, t, i, 1, &w);
    aft_lse_add(&sum, aft_logit_of(k, w), v, 1);
  }
  return aft_lse_ratio(&sum);
}

static void run_row(step_block *p, size_t t, double *ratio) {
  size_t lo = aft_step_left(p->step, &p->q, t), own = p->q.held + t, count = own + 1 - lo;
  double acc[2 * STEP_LANES] = {0}, shift = p->q.position + t >= p->step->window ? 0 : -INFINITY;
  double *w = p->weights;
  biases(p, t, lo, count, w);
  for (size_t i = 0; i < count; i++) {
    if (w[i] > shift && w[i] < INFINITY) shift = w[i];
  }
  if (shift == -INFINITY) shift = 0;
  for (size_t i = 0; i < count; i++) w[i] = exp(w[i] - shift);
  aft_weigh(acc, w, p->terms + lo * p->width, count, p->width);
  double outside = exp(-shift);
  for (size_t j = 0; j < p->n; j++) {
    const aft_lse *left = &p->left[j];
    double num = acc[j], den = acc[p->n + j];
    if (left->scale.hi != -INFINITY) { /* NaN too */
      double f = outside * exp(2 * (left->scale.hi - 0.5 * p->ch[j].key));
      num += f * aft_sum_value(left->num);
      den += f * aft_sum_value(left->den);
    }
    ratio[j] = aft_settle(aft_trusted(num, den) ? num / den : exact_ratio(p, t, lo, j), &p->ch[j]);
  }
}

static void make_terms(step_block *p, size_t tokens) {
  double k[STEP_LANES], v[STEP_LANES];
  for (size_t i = 0; i < tokens; i++) {
    double *term = p->terms + i * p->width, *a = term + p->n;
    load_token(p, i, k, v);
    for (size_t j = 0; j < p->n; j++) {
      int again = j > 0 && k[j] == k[j - 1] && p->ch[j].key == p->ch[j - 1].key;
      a[j] = again ? a[j - 1] : k[j] == -INFINITY ? 0 : exp(k[j] - p->ch[j].key);
      term[j] = k[j] == -INFINITY ? 0 : a[j] * (v[j] * p->ch[j].down);
    }
  }
}

/* m, n and d of channel j after the chunk. */
static void store_sums(const step_block *p, size_t j) {
  const aft_step *step = p->step;
  size_t d = p->first + j, head = p->q.b * step->heads + d / step->group;
  const aft_lse *left = &p->left[j];
  int32_t dtype = step->call->in[step->sums].dtype;
  double m = AFT_EMPTY_MAX, n = 0, den = aft_sum_value(left->den);
  if (den != 0) {
    double f = exp(2 * (left->scale.hi - 0.5 * p->gone[j]));
    m = p->gone[j];
    n = aft_sum_value(left->num) * f * p->ch[j].up;
    den *= f;
  }
  aft_store(step->call->out[step->new_sums + 1], dtype, p->q.b * step->dim + d, &n, 1);
  if (d % step->group != 0) return; /* the head's first channel writes what they share */
  aft_store(step->call->out[step->new_sums], dtype, head, &m, 1);
  aft_store(step->call->out[step->new_sums + 2], dtype, head, &den, 1);
}

static void run_block(step_block *p) {
  const aft_step *step = p->step;
  size_t tokens = p->q.held + p->q.length, left = 0;
  double ratio[STEP_LANES];
  begin(p, tokens);
  make_terms(p, tokens);
  for (size_t t = 0; t < p->q.length; t++) {
    for (; left < aft_step_left(step, &p->q, t); left++) leave(p, left);
    run_row(p, t, ratio);
    aft_finish(step->call, step->call->out[0], (p->q.b * step->t + t) * step->dim + p->first, ratio, p->n);
  }
  if (step->sums == 0) return;
  for (; left + step->window <= tokens; left++) leave(p, left);
  for (size_t j = 0; j < p->n; j++) store_sums(p, j);
}

typedef struct {
  const aft_step *step;
  const aft_channels *which;
  size_t span, blocks; /* channels that share biases; blocks in them */
  size_t tokens;       /* most of a sequence */
  size_t copies;       /* tasks that copy come first */
} step_job;

static void run_task(void *arg, size_t i, double *scratch) {
  const step_job *job = arg;
  const aft_step *step = job->step;
  if (i < job->copies) {
    aft_step_copy(step, i);
    return;
  }
  i -= job->copies;
  step_block p = {.step = step, .n = 1};
  size_t b = i / (step->dim / job->span * job->blocks), rest = i % (step->dim / job->span * job->blocks);
  if (job->which != NULL) {
    b = job->which->channel[i] / step->dim;
    p.first = job->which->channel[i] % step->dim;
  } else {
    size_t first = rest % job->blocks * STEP_LANES;
    p.first = rest / job->blocks * job->span + first;
    p.n = aft_min(STEP_LANES, job->span - first);
  }
  p.q = aft_sequence_of(step, b);
  p.width = 2 * p.n;
  p.weights = scratch;
  p.terms = scratch + job->tokens;
  if (job->which == NULL) aft_step_pad(step, &p.q, p.first, p.n);
  run_block(&p);
}

int aft_step_double(const aft_step *step, const aft_host *host, const aft_channels *which) {
  step_job job = {.step = step, .which = which, .span = step->w_head != 0 ? step->group : step->dim};
  job.blocks = aft_div_up(job.span, STEP_LANES);
  for (size_t b = 0; b < step->batches; b++) {
    aft_sequence q = aft_sequence_of(step, b);
    if (q.held + q.length > job.tokens) job.tokens = q.held + q.length;
  }
  size_t n = which != NULL ? which->n : step->batches * (step->dim / job.span) * job.blocks;
  job.copies = which != NULL ? 0 : aft_step_copies(step);
  size_t width = 2 * (which != NULL ? 1 : aft_min(STEP_LANES, job.span));
  return aft_tasks(host, run_task, &job, job.copies + n, aft_mul(job.tokens, width + 1));
}

/* Heads without channels: their keys move on, their sums stay as they are. */
static int run_heads(const aft_step *step) {
  for (size_t i = 0; i < aft_step_copies(step); i++) aft_step_copy(step, i);
  for (int i = 0; i < 3 && step->sums > 0; i += 2) {
    const aft_tensor *past = &step->call->in[step->sums + i];
    memcpy(step->call->out[step->new_sums + i], past->data, step->batches * step->heads * size_of(past->dtype));
  }
  return AFT_OK;
}

int aft_step_run(const aft_step *step, const aft_host *host, int (*fast)(const aft_fast *f),
                 int (*slow)(const aft_call *call, void *out, const aft_host *host, const aft_channels *which)) {
  if (step->dim == 0) return run_heads(step);
  return aft_run_simd(step->call, step->call->out[0], host, fast, slow);
}

double aft_step_exact(const aft_step *step, const aft_sequence *q, size_t t, size_t d) {
  step_block p = {.step = step, .q = *q, .first = d, .n = 1, .width = 2};
  size_t lo = aft_step_left(step, q, t);
  begin(&p, q->held + t + 1);
  for (size_t i = 0; i < lo; i++) leave(&p, i);
  return aft_settle(exact_ratio(&p, t, lo, 0), &p.ch[0]);
}
