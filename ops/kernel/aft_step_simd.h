/* The step forms a vector of channels at a time: rows see what has left the window as sums with bias 0, and the tokens of
 * their windows with their biases.
 *
 * A chunk of rows at a time, the terms of the tokens in their windows are made, over a key near the largest so far, and
 * weighed with exp(bias): for ROWS rows in one product, exp(0) for tokens that have left a row's window and 0 for those
 * that come later; or, where rows are few, row by row. Where den is too small to trust (aft_simd.h) the row is computed from
 * the logits in its window and the sums of what has left, which are over a key of their own and so never too small. */
#include "aft_step_terms_simd.h"

/* ---- weights ------------------------------------------------------------------------------------------------------- */

/* A row of biases: token `own` has element `at` of W, the token i before it the element i before, up to `window` tokens. */
typedef struct {
  const aft_tensor *w;
  size_t own, at, window;
} step_biases;

static size_t step_first(const step_biases *b) { return b->own + 1 > b->window ? b->own + 1 - b->window : 0; }

static step_biases step_row_biases(const step_strip *p, size_t t, size_t head) {
  const aft_step *step = p->job->step;
  return (step_biases){&step->call->in[step->w], p->q.held + t, aft_step_bias(step, &p->q, t, head), step->window};
}

/* The largest bias, the 0 outside included where a token lies there, and exp(0 - shift) then; NaN and 0 where a bias is NaN
 * or +Inf. */
static void step_shift(const step_biases *b, int outside, float *shift, float *rest) {
  size_t lo = step_first(b), n = b->own + 1 - lo;
  vec top = vec_of(-INFINITY);
  vec_bits odd = {0};
  for (size_t i = 0; i < n; i += LANES) {
    vec x = vec_read(b->w, b->at - (n - 1) + i, aft_min(LANES, n - i));
    for (size_t j = n - i; j < LANES; j++) x[j] = -INFINITY;
    odd |= ~(x <= vec_of(FLT_MAX));
    top = vec_max(x, top);
  }
  float largest = outside ? 0 : -INFINITY;
  for (size_t j = 0; j < LANES; j++) largest = top[j] > largest ? top[j] : largest;
  if (largest == -INFINITY) largest = 0;
  *shift = vec_any(odd) ? NAN : largest;
  *rest = outside && !vec_any(odd) ? vec_exp(vec_of(-largest))[0] : 0;
}

/* The weights of tokens from..to-1, `stride` floats apart. */
static void step_weigh(const step_biases *b, float shift, float rest, size_t from, size_t to, size_t stride, float *out) {
  size_t lo = step_first(b), i = from;
  size_t end = isnan(shift) ? from : aft_min(to, b->own + 1);
  for (; i < end && i < lo; i++) out[(i - from) * stride] = rest;
  while (i < end) {
    size_t n = aft_min(LANES, end - i);
    vec e = vec_exp(vec_read(b->w, b->at - (b->own - i), n) - vec_of(shift));
    for (size_t j = 0; j < n; j++) out[(i - from + j) * stride] = e[j];
    i += n;
  }
  for (; i < to; i++) out[(i - from) * stride] = 0;
}

/* The tokens of a tile: those from the first row's window to the last row's own, as far as they lie in the block. */
static size_t step_tile_begin(const step_strip *p, size_t t, size_t block) {
  size_t lo = aft_step_left(p->job->step, &p->q, t);
  return lo > block ? lo : block;
}

static size_t step_tile_end(const step_strip *p, size_t t, size_t next) {
  return aft_min(next, p->q.held + aft_min(t + p->tile, p->q.length));
}

/* AFTLocalStep, AFTFullStep: the weights of the tile at row t for the block. */
static float *step_tile_weights(const step_strip *p, size_t c0, size_t t) { return p->weights + (t - c0) * STEP_BLOCK; }

static void step_weigh_block(step_strip *p, size_t c0, size_t rows, size_t block, size_t next) {
  for (size_t t = c0; t < c0 + rows; t += p->tile) {
    size_t from = step_tile_begin(p, t, block), to = step_tile_end(p, t, next);
    for (size_t r = 0; r < p->tile && from < to; r++) {
      float *out = step_tile_weights(p, c0, t) + r;
      if (t + r >= c0 + rows) { /* past the chunk: sums that nothing reads */
        for (size_t i = from; i < to; i++) out[(i - from) * p->tile] = 0;
        continue;
      }
      step_biases b = step_row_biases(p, t + r, 0);
      step_weigh(&b, p->shift[t + r - c0], p->rest[t + r - c0], from, to, p->tile, out);
    }
  }
}

/* AFTConv1DStep: the weights of row 0 of a tile begin s-1 tokens before its own; those of any tile are the same. */
static size_t step_head_weights(const step_strip *p) { return (p->job->step->window - 1 + p->tile) * p->tile; }

static void step_weigh_heads(step_strip *p) {
  const aft_step *step = p->job->step;
  for (size_t h = p->head[0]; h <= p->head[p->n - 1]; h++) {
    float *out = p->weights + (h - p->head[0]) * step_head_weights(p);
    step_biases b = {&step->call->in[step->w], step->window - 1, step->w_first + h * step->w_head, step->window};
    step_shift(&b, 1, &p->shift[h - p->head[0]], &p->rest[h - p->head[0]]);
    for (size_t r = 0; r < p->tile; r++, b.own++) {
      step_weigh(&b, p->shift[h - p->head[0]], p->rest[h - p->head[0]], 0, step->window - 1 + p->tile, p->tile, out + r);
    }
  }
}

/* The same where channels have heads of their own: (s, LANES) of every vector, then its shifts and the weights outside. */
static void step_weigh_lanes(step_strip *p) {
  const aft_step *step = p->job->step;
  for (size_t i = 0; i < p->n * LANES; i++) {
    float *out = p->weights + i / LANES * (step->window + 2) * LANES + i % LANES, *shift = out + step->window * LANES;
    size_t h = p->lane_head[i];
    step_biases b = {&step->call->in[step->w], step->window - 1, step->w_first + h * step->w_head, step->window};
    step_shift(&b, 1, shift, shift + LANES);
    step_weigh(&b, shift[0], shift[LANES], 0, step->window, LANES, out);
  }
}

/* ---- products ------------------------------------------------------------------------------------------------------ */

VEC void step_row_term(const float *weights, int each, const float *terms, size_t i, vec *num, vec *den) {
  vec w = each ? vec_aligned(weights + i * LANES) : vec_of(weights[i]);
  *num = vec_madd(w, vec_aligned(terms + i * TERM), *num);
  *den = vec_madd(w, vec_aligned(terms + i * TERM + LANES), *den);
}

/* One row: sums += the product over n tokens, with one weight a token, or one a lane. */
VEC void step_row_product(float *sums, const float *weights, int each, const float *terms, size_t n) {
  while (n > 0) {
    size_t run = aft_min(n, BATCH * TILE_RUN), i = 0;
    vec num[BATCH], den[BATCH];
    EACH(j, BATCH) num[j] = den[j] = vec_of(0);
    for (; i + BATCH <= run; i += BATCH) {
      EACH(j, BATCH) step_row_term(weights, each, terms, i + (size_t)j, &num[j], &den[j]);
    }
    for (; i < run; i++) step_row_term(weights, each, terms, i, &num[0], &den[0]);
    vec_store_aligned(sums, vec_aligned(sums) + ((num[0] + num[1]) + (num[2] + num[3])));
    vec_store_aligned(sums + LANES, vec_aligned(sums + LANES) + ((den[0] + den[1]) + (den[2] + den[3])));
    weights += run * (each ? LANES : 1);
    terms += run * TERM;
    n -= run;
  }
}

/* sums + lost += the product of a tile over the tokens of a block, or = where it is the first. */
static void step_tile_product(step_strip *p, size_t g, size_t c0, size_t t, size_t block, size_t next, int first) {
  const step_simd *job = p->job;
  size_t from = step_tile_begin(p, t, block), to = step_tile_end(p, t, next), place = (g * STEP_CHUNK + t - c0) * TERM;
  if (first) memset(p->lost + place, 0, p->tile * TERM * sizeof(float));
  if (first && from >= to) memset(p->sums + place, 0, p->tile * TERM * sizeof(float));
  if (from >= to) return;
  const float *terms = p->terms + (g * job->cap + from - p->base) * TERM, *weights = step_tile_weights(p, c0, t);
  size_t back = from + job->step->window - (p->q.held + t + 1); /* tokens after the first that the first row's window holds */
  float *sums = p->sums + place, *lost = p->lost + place;
  _Alignas(64) float rest[TILE], *part = first ? sums : rest;
  memset(part, 0, p->tile * TERM * sizeof(float));
  if (job->each) {
    weights = p->weights + (g * (job->step->window + 2) + back) * LANES;
  } else if (job->step->w_head != 0) {
    weights = p->weights + (p->head[g] - p->head[0]) * step_head_weights(p) + back * p->tile;
  }
  if (p->tile > 1) {
    tile_product(part, weights, terms, to - from);
  } else if (job->each) {
    step_row_product(part, weights, 1, terms, to - from);
  } else {
    step_row_product(part, weights, 0, terms, to - from);
  }
  for (size_t i = 0; i < p->tile * TERM && !first; i += LANES) {
    vec sum = vec_aligned(sums + i), less = vec_aligned(lost + i);
    vec_add(&sum, &less, vec_aligned(part + i));
    vec_store_aligned(sums + i, sum);
    vec_store_aligned(lost + i, less);
  }
}

/* ---- exact path ---------------------------------------------------------------------------------------------------- */

/* Halves of the biases of row t for n tokens from `from` on, one each or, where heads differ, a vector each. */
static void step_half_biases(const step_strip *p, size_t g, size_t t, size_t from, size_t n, float *to) {
  const step_simd *job = p->job;
  step_biases b = step_row_biases(p, t, job->step->w_head != 0 ? p->head[g] : 0);
  size_t lo = step_first(&b);
  for (size_t i = 0; job->each && i < n; i++) {
    for (size_t l = 0; l < LANES; l++) {
      size_t at = b.at + (p->lane_head[g * LANES + l] - p->head[g]) * job->step->w_head - (b.own - (from + i));
      to[i * LANES + l] = from + i < lo ? 0 : 0.5f * vec_read_one(b.w, at)[0];
    }
  }
  if (job->each) return;
  size_t i = 0;
  for (; i < n && from + i < lo; i++) to[i] = 0;
  for (; i < n; i += LANES) {
    vec_store(to + i, vec_of(0.5f) * vec_read(b.w, b.at - (b.own - (from + i)), aft_min(LANES, n - i)));
  }
}

typedef struct {
  const step_strip *p;
  size_t g, from;
} step_exact_from;

VEC vec step_exact_value(const void *arg, size_t i, vec k) {
  const step_exact_from *f = arg;
  return step_value(f->p, f->from + i, f->g, k);
}

/* Adds tokens lo..hi-1, the last ones first, with their biases in row t. */
static void step_exact_tokens(const step_strip *p, size_t g, size_t t, size_t lo, size_t hi, exact_sums *s) {
  int fresh;
  while (hi > lo) {
    size_t n = aft_min(EXACT_CHUNK, hi - lo), from = hi - n;
    vec k[EXACT_CHUNK];
    _Alignas(64) float w[EXACT_CHUNK * LANES + LANES];
    for (size_t i = 0; i < n; i++) k[i] = vec_of(0.5f) * step_key(p, from + i, g, &fresh);
    step_half_biases(p, g, t, from, n, w);
    exact_add(s, k, (exact_bias){w, p->job->each}, n, step_exact_value, &(step_exact_from){p, g, from});
    hi = from;
  }
}

/* Row t from the logits of tokens lo..own, and the sums of those before lo: the tokens that the chunk has brought first, then
 * the others, unless none of them can count beside those: their keys are at most AFT_RAISE above `before`, their biases at
 * most shift. */
static __attribute__((noinline)) void step_exact(const step_strip *p, size_t g, size_t t, size_t lo, vec shift, vec *num,
                                                 vec *den) {
  const step_state *state = &p->state[g];
  size_t hi = p->q.held + t + 1, fresh = p->kept && p->fresh > lo ? p->fresh : lo;
  exact_sums s = exact_empty();
  s.num = step_narrow(&state->num);
  s.den = step_narrow(&state->den);
  s.top.hi = vec_pick(s.den > vec_of(0), vec_of(0.5f) * state->left_key, s.top.hi);
  step_exact_tokens(p, g, t, fresh, hi, &s);
  if (fresh > lo) {
    vec reach = vec_of(0.5f) * state->before + vec_of(0.5f) * (shift + vec_of(AFT_RAISE - EXACT_FAR));
    if (vec_any(~(s.top.hi > reach))) step_exact_tokens(p, g, t, lo, fresh, &s);
  }
  *num = s.num;
  *den = vec_max(vec_of(0x1p-126f), s.den);
}

/* Replaces what cannot be trusted of row t; shift is NaN where biases are odd. */
static __attribute__((noinline)) void step_repair(const step_strip *p, size_t g, size_t t, size_t lo, vec shift, vec *num,
                                                  vec *den) {
  const aft_step *step = p->job->step;
  vec_bits bad = ~(*den >= p->state[g].tiny), odd = bad & ~(shift == shift);
  if (vec_any(bad & ~odd)) {
    vec exact_num, exact_den;
    step_exact(p, g, t, lo, shift, &exact_num, &exact_den);
    *num = vec_pick(bad, exact_num, *num);
    *den = vec_pick(bad, exact_den, *den);
  }
  for (size_t l = 0; l < step_lanes(p->job, p->first + g); l++) {
    if (!odd[l]) continue;
    (*num)[l] = (float)(aft_step_exact(step, &p->q, t, (p->first + g) * LANES + l) * p->state[g].down[l]);
    (*den)[l] = 1;
  }
}

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

/* Y of the rows of a tile from their sums and those of what has left the window of its first row, `lo` tokens. */
static void step_finish(step_strip *p, size_t g, size_t c0, size_t t, size_t rows, size_t lo) {
  const step_simd *job = p->job;
  const step_state *s = &p->state[g];
  size_t i = (p->q.b * job->step->t + t) * job->step->dim + (p->first + g) * LANES, lanes = step_lanes(job, p->first + g);
  const float *sums = p->sums + (g * STEP_CHUNK + t - c0) * TERM;
  const float *lane_shift = p->weights + (g * (job->step->window + 2) + job->step->window) * LANES;
  vec scale = vec_exp(s->left_key - s->key), left_num = step_narrow(&s->num) * scale, left_den = step_narrow(&s->den) * scale;
  vec num[ROWS], den[ROWS], up[ROWS];
  for (size_t r = 0; r < rows; r++) {
    size_t at = job->step->w_head != 0 ? p->head[g] - p->head[0] : t + r - c0;
    vec shift = job->each ? vec_aligned(lane_shift) : vec_of(p->shift[at]);
    vec rest = job->each ? vec_aligned(lane_shift + LANES) : vec_of(p->rest[at]);
    num[r] = vec_madd(rest, left_num, vec_aligned(sums + r * TERM));
    den[r] = vec_madd(rest, left_den, vec_aligned(sums + r * TERM + LANES));
    up[r] = s->up;
    if (__builtin_expect(vec_any(~(den[r] >= s->tiny)), 0)) step_repair(p, g, t + r, lo, shift, &num[r], &den[r]);
  }
  vec_finish_many(job->f->call, job->f->out, i, job->step->dim, num, den, up, lanes, rows);
}

/* Rows c0..c0+rows-1. */
static void step_chunk(step_strip *p, size_t c0, size_t rows) {
  const aft_step *step = p->job->step;
  size_t begin = aft_step_left(step, &p->q, c0), end = p->q.held + c0 + rows;
  for (size_t r = 0; r < rows && step->w_head == 0; r++) {
    step_biases b = step_row_biases(p, c0 + r, 0);
    step_shift(&b, p->q.position + c0 + r >= step->window, &p->shift[r], &p->rest[r]);
  }
  if (p->kept) {
    step_slide(p, begin, end);
    step_fill(p, end);
  }
  size_t most = !p->kept && rows <= STEP_FEW ? STEP_SHORT : STEP_BLOCK;
  p->begun = 0;
  for (size_t block = begin; block < end; block += most) {
    size_t next = aft_min(end, block + most);
    if (!p->kept) {
      p->base = p->filled = block;
      step_fill(p, next);
    }
    if (step->w_head == 0) step_weigh_block(p, c0, rows, block, next);
    for (size_t g = 0; g < p->n; g++) {
      for (size_t t = c0; t < c0 + rows; t += p->tile) step_tile_product(p, g, c0, t, block, next, !p->begun);
    }
    p->begun = 1;
  }
  for (size_t g = 0; g < p->n; g++) {
    size_t left = begin;
    for (size_t t = c0; t < c0 + rows; t += p->tile) {
      size_t lo = aft_step_left(step, &p->q, t);
      step_leave(p, g, left, lo);
      step_finish(p, g, c0, t, aft_min(p->tile, c0 + rows - t), lo);
      left = lo;
    }
    step_leave(p, g, left, aft_step_left(step, &p->q, c0 + rows)); /* the first row of the next chunk begins there */
  }
}

/* ---- AFTSimpleStep ------------------------------------------------------------------------------------------------- */

/* Rows t..t+n-1 of a vector: what has left the window and the row's own token are one sum. */
VEC void step_simple_some(step_strip *p, size_t g, size_t t, const int n) {
  const step_simd *job = p->job;
  step_state *s = &p->state[g];
  size_t at = (p->q.b * job->step->t + t) * job->step->dim + (p->first + g) * LANES, lanes = step_lanes(job, p->first + g);
  vec k[BATCH], num[BATCH], den[BATCH], up[BATCH];
  int fresh;
  EACH(r, n) k[r] = step_key(p, t + (size_t)r, g, &fresh);
  EACH(r, n) num[r] = step_value(p, t + (size_t)r, g, k[r]);
  EACH(r, n) s->top = vec_max(vec_magnitude(num[r]), s->top);
  EACH(r, n) up[r] = s->up;
  if (!step_left_terms(s, k, num, den, n)) {
    EACH(r, n) {
      num[r] = step_value(p, t + (size_t)r, g, k[r]);
      (void)step_left_terms(s, k + r, num + r, den + r, 1);
      step_add(&s->num, num[r]);
      step_add(&s->den, den[r]);
      num[r] = step_narrow(&s->num);
      den[r] = vec_max(vec_of(0x1p-126f), step_narrow(&s->den));
    }
  } else {
    vec before_num = step_narrow(&s->num), before_den = step_narrow(&s->den);
    for (int r = 1; r < n; r++) {
      num[r] += num[r - 1];
      den[r] += den[r - 1];
    }
    step_add(&s->num, num[n - 1]);
    step_add(&s->den, den[n - 1]);
    EACH(r, n) num[r] += before_num;
    EACH(r, n) den[r] = vec_max(vec_of(0x1p-126f), before_den + den[r]);
  }
  vec_finish_some(job->f->call, job->f->out, at, job->step->dim, num, den, up, lanes, n);
}

static void step_simple(step_strip *p) {
  size_t t = 0;
  for (; t + BATCH <= p->q.length; t += BATCH) {
    for (size_t g = 0; g < p->n; g++) step_simple_some(p, g, t, BATCH);
  }
  for (; t < p->q.length; t++) {
    for (size_t g = 0; g < p->n; g++) step_simple_some(p, g, t, 1);
  }
  for (size_t g = 0; g < p->n; g++) {
    p->state[g].seen = step_narrow(&p->state[g].num);
  }
}

/* ---- strips and tasks ---------------------------------------------------------------------------------------------- */

static void step_sweep(step_strip *p) {
  for (size_t g = 0; g < p->n; g++) {
    p->state[g].seen = p->state[g].top = vec_of(0);
    step_begin_left(p, g);
  }
  if (p->job->step->w == 0) {
    step_simple(p);
    return;
  }
  p->base = p->filled = 0;
  for (size_t c0 = 0; c0 < p->q.length; c0 += STEP_CHUNK) step_chunk(p, c0, aft_min(STEP_CHUNK, p->q.length - c0));
}

static int step_judge(step_strip *p, int scaled) {
  int again = 0;
  for (size_t g = 0; g < p->n; g++) {
    step_state *s = &p->state[g];
    vec_bits fine = (s->top <= vec_of(AFT_V_LARGE)) & ((s->top >= vec_of(AFT_V_SMALL)) | (s->top == vec_of(0)));
    fine &= vec_magnitude(s->seen) <= vec_of(AFT_V_ODD);
    if (__builtin_expect(!vec_any(~fine), 1)) continue;
    for (size_t l = 0; l < step_lanes(p->job, p->first + g); l++) {
      float down = s->down[l], up = s->up[l];
      again |= vec_judge(s->seen[l], 0, s->top[l], scaled, &down, &up,
                         &p->job->f->odd[p->q.b * p->job->step->dim + (p->first + g) * LANES + l]);
      s->down[l] = down;
      s->up[l] = up;
    }
  }
  return again;
}

static void step_heads(step_strip *p) {
  const aft_step *step = p->job->step;
  if (step->w_head == 0) return;
  for (size_t g = 0; g < p->n; g++) p->head[g] = (p->first + g) * LANES / step->group;
  if (!p->job->each) {
    step_weigh_heads(p);
    return;
  }
  for (size_t i = 0; i < p->n * LANES; i++) {
    p->lane_head[i] = aft_min(p->first * LANES + i, step->dim - 1) / step->group;
  }
  step_weigh_lanes(p);
}

/* Strip i % strips of sequence i / strips. */
static void step_strip_run(const step_simd *job, size_t i, float *floats) {
  step_strip p = {.job = job, .q = aft_sequence_of(job->step, i / job->strips), .first = i % job->strips * STEP_GROUPS};
  size_t at = 0;
  p.n = aft_min(STEP_GROUPS, job->groups - p.first);
  p.tile = job->each || p.q.length <= STEP_FEW ? 1 : ROWS;
  p.kept = p.q.length > STEP_CHUNK;
  p.terms = floats + aft_room(&at, p.n * job->cap * TERM);
  p.sums = floats + aft_room(&at, p.n * STEP_CHUNK * TERM);
  p.lost = floats + aft_room(&at, p.n * STEP_CHUNK * TERM);
  p.weights = floats + at;
  step_heads(&p);
  for (size_t g = 0; g < p.n; g++) p.state[g].down = p.state[g].up = vec_of(1);
  for (int scaled = 0; scaled < 2; scaled++) {
    step_sweep(&p);
    if (!step_judge(&p, scaled)) break;
  }
  for (size_t g = 0; g < p.n && job->step->sums > 0; g++) step_store_left(&p, g);
  aft_step_pad(job->step, &p.q, p.first * LANES, aft_min(p.n * LANES, job->step->dim - p.first * LANES));
}

/* Items i*share..: strips, then pieces of keys and values to copy. */
static void step_task(void *arg, size_t i, double *scratch) {
  const step_simd *job = arg;
  for (size_t item = i * job->share; item < aft_min(job->items, (i + 1) * job->share); item++) {
    if (item < job->items - job->copies) {
      step_strip_run(job, item, aft_line(scratch));
    } else {
      aft_step_copy(job->step, item - (job->items - job->copies));
    }
  }
}

/* Floats for the weights of a strip of n vectors. */
static size_t step_weights_room(const step_simd *job, size_t n) {
  size_t window = job->step->window;
  if (job->step->w_head == 0) return STEP_CHUNK * STEP_BLOCK;
  if (job->each) return aft_mul(n * LANES, window + 2);
  return aft_mul(n * ROWS, window - 1 + ROWS);
}

/* Floats for a strip. A sequence that keeps its terms needs those of a chunk's windows; any other a block at a time. */
static size_t step_room(step_simd *job, size_t longest) {
  size_t n = aft_min(STEP_GROUPS, job->groups), at = 0;
  if (job->step->w == 0) return 0;
  job->cap = aft_min(job->tokens, STEP_BLOCK);
  if (longest > STEP_CHUNK) job->cap = aft_min(job->tokens, aft_add(job->step->window, STEP_SLIDE + STEP_BLOCK));
  (void)aft_room(&at, aft_mul(n, aft_mul(job->cap, TERM)));
  (void)aft_room(&at, 2 * n * STEP_CHUNK * TERM);
  (void)aft_room(&at, step_weights_room(job, n));
  return at;
}

/* How many items share a task. A call of a token is over before another thread has woken up: all of them, then. What it costs
 * is a guess, in nanoseconds where a vector has 16 lanes, from its exponentials, products and copies. */
static size_t step_share(const step_simd *job, double exponentials, double products) {
  const aft_step *step = job->step;
  double copied = (double)step->batches * (double)step->slots * (double)(step->dim + step->heads) * sizeof(float);
  double cost = (double)step->dim * (0.5 * exponentials + 0.1 * products) + 0.1 * copied;
  return cost < STEP_SMALL ? job->items : 1;
}

static int simd_step(const aft_fast *f, const aft_step *step) {
  step_simd job = {.f = f, .step = step};
  double exponentials = 0, products = 0;
  size_t longest = 0;
  job.groups = aft_div_up(step->dim, LANES);
  job.strips = aft_div_up(job.groups, STEP_GROUPS);
  job.each = step->w_head != 0 && step->heads > 1 && step->group % LANES != 0;
  for (size_t b = 0; b < step->batches; b++) {
    aft_sequence q = aft_sequence_of(step, b);
    size_t tokens = q.held + q.length;
    if (tokens > job.tokens) job.tokens = tokens;
    if (q.length > longest) longest = q.length;
    exponentials += (double)(tokens + q.length);
    products += (double)q.length * (double)aft_min(tokens, step->window);
  }
  job.copies = aft_step_copies(step);
  job.items = job.copies + step->batches * job.strips;
  job.share = step_share(&job, exponentials, products);
  size_t room = step_room(&job, longest);
  return aft_tasks(f->host, step_task, &job, aft_div_up(job.items, job.share), aft_doubles(room));
}
