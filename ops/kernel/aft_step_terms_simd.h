/* What aft_step_simd.h computes with: the job and its pieces, the terms of the tokens, and the sums of those that have left
 * the window. */
#ifndef AFT_STEP_TERMS_SIMD_H
#define AFT_STEP_TERMS_SIMD_H

#include "aft_exact_simd.h"
#include "aft_step.h"
#include "aft_tile_simd.h"

enum {
  STEP_CHUNK = 24,             /* rows at a time, a multiple of every ROWS */
  STEP_BLOCK = 16 * TILE_RUN,  /* tokens that are summed before the sum is added to a total */
  STEP_SHORT = 4 * TILE_RUN,   /* the same where terms are used once: as many as stay in the cache */
  STEP_SLIDE = 4 * STEP_CHUNK, /* tokens between two moves of the terms */
  STEP_GROUPS = 256 / LANES,   /* vectors of channels in a strip */
  STEP_SHIFTS = STEP_GROUPS > STEP_CHUNK ? STEP_GROUPS : STEP_CHUNK,
  STEP_SMALL = 100000,         /* nanoseconds that no other thread is woken for */
  STEP_FEW = ROWS / 3          /* as many rows are summed one by one: a tile would be mostly empty */
};

typedef double vec_double __attribute__((vector_size(8 * LANES)));

/* A vector of channels. What has left the window is summed in double, over a key of its own that is at most AFT_RAISE below
 * the largest of its keys: however large the keys in the window are, the state keeps its digits. */
typedef struct {
  vec key;                 /* of the terms */
  vec seen;                /* the sum of all a V: NaN where K was NaN or +Inf, or V was NaN */
  vec top, down, up, tiny; /* tiny: den that is too small to trust */
  vec left_key, gone;      /* gone: the largest key itself */
  vec before;              /* no key of a token before `fresh` is more than AFT_RAISE above this */
  vec_double num, den;
} step_state;

typedef struct {
  const aft_fast *f;
  const aft_step *step;
  size_t groups, strips;
  size_t tokens; /* most of a sequence */
  size_t cap;    /* tokens whose terms there is room for */
  int each;      /* the channels of a vector have keys and biases of their own heads */
  size_t copies, items, share; /* items of work, copies the last of them; how many a task does */
} step_simd;

typedef struct {
  const step_simd *job;
  aft_sequence q;
  size_t first, n;     /* vectors first..first+n-1 */
  size_t base, filled; /* tokens whose terms are there */
  size_t fresh;        /* those that the last fill added begin here */
  size_t tile;         /* rows that are summed together: ROWS or 1 */
  int begun;           /* the sums of the chunk hold a block */
  int kept;            /* terms stay until the window has passed; else a block of them is all there is */
  float *terms;        /* (n, cap, TERM) */
  float *weights;      /* of the tiles of a chunk for a block of tokens; or of the heads, or lanes, for all */
  float *sums, *lost;  /* (n, rows of a chunk, TERM), what rounding took from them */
  float shift[STEP_SHIFTS], rest[STEP_SHIFTS]; /* of rows, or of heads */
  size_t head[STEP_GROUPS];                /* where W has rows of heads */
  size_t lane_head[STEP_GROUPS * LANES]; /* where lanes have heads of their own */
  step_state state[STEP_GROUPS];
} step_strip;

static size_t step_lanes(const step_simd *job, size_t g) { return aft_min(LANES, job->step->dim - g * LANES); }

VEC vec step_narrow(const vec_double *x) { return __builtin_convertvector(*x, vec); }
VEC void step_set(vec_double *x, vec y) { *x = __builtin_convertvector(y, vec_double); }
VEC void step_add(vec_double *x, vec y) { *x += __builtin_convertvector(y, vec_double); }
VEC void step_times(vec_double *x, vec y) { *x *= __builtin_convertvector(y, vec_double); }

/* Row `row` of a tensor with a column a head, for vector g of the strip; `fresh` is 0 where it is that of the vector before. */
VEC vec step_read_heads(const step_strip *p, const aft_tensor *t, size_t row, size_t g, int *fresh) {
  const step_simd *job = p->job;
  const aft_step *step = job->step;
  *fresh = 1;
  if (__builtin_expect(step->heads == step->dim, 1)) {
    return vec_read(t, row * step->dim + (p->first + g) * LANES, step_lanes(job, p->first + g));
  }
  if (!job->each) {
    *fresh = g == 0 || p->head[g] != p->head[g - 1];
    return vec_read_one(t, row * step->heads + p->head[g]);
  }
  vec x = vec_of(0);
  for (size_t l = 0; l < LANES; l++) x[l] = vec_read_one(t, row * step->heads + p->lane_head[g * LANES + l])[0];
  return x;
}

/* K of a token for vector g. */
VEC vec step_key_at(const step_strip *p, const aft_token *at, size_t g, int *fresh) {
  return step_read_heads(p, at->k, at->row, g, fresh);
}

/* V of a token, scaled, 0 where K removes it. */
VEC vec step_value_at(const step_strip *p, const aft_token *at, size_t g, vec k) {
  vec v = vec_read(at->v, at->row * p->job->step->dim + (p->first + g) * LANES, step_lanes(p->job, p->first + g));
  return (vec)((vec_bits)v & ~(k == vec_of(-INFINITY))) * p->state[g].down;
}

VEC vec step_key(const step_strip *p, size_t i, size_t g, int *fresh) {
  aft_token at = aft_token_at(p->job->step, &p->q, i);
  return step_key_at(p, &at, g, fresh);
}

VEC vec step_value(const step_strip *p, size_t i, size_t g, vec k) {
  aft_token at = aft_token_at(p->job->step, &p->q, i);
  return step_value_at(p, &at, g, k);
}

/* ---- terms --------------------------------------------------------------------------------------------------------- */

/* Tokens i..i+n-1, which follow each other in memory from `at` on; at most up to `end`. */
typedef struct {
  aft_token at;
  size_t i, n;
} step_run;

static step_run step_run_from(const step_strip *p, size_t i, size_t end) {
  size_t stop = i < p->q.held ? aft_min(p->q.held, end) : end;
  return (step_run){aft_token_at(p->job->step, &p->q, i), i, stop - i};
}

/* K and V of token r of a run: of whole vectors of float where `plain`, which needs no look at what they are. */
VEC vec step_run_key(const step_strip *p, const step_run *run, size_t r, size_t g, int *fresh, const int plain) {
  aft_token at = run->at;
  at.row += r;
  if (!plain) return step_key_at(p, &at, g, fresh);
  return vec_load((const float *)at.k->data + at.row * p->job->step->dim + (p->first + g) * LANES);
}

VEC vec step_run_value(const step_strip *p, const step_run *run, size_t r, size_t g, vec k, const int plain) {
  aft_token at = run->at;
  at.row += r;
  if (!plain) return step_value_at(p, &at, g, k);
  vec v = vec_load((const float *)at.v->data + at.row * p->job->step->dim + (p->first + g) * LANES);
  return (vec)((vec_bits)v & ~(k == vec_of(-INFINITY))) * p->state[g].down;
}

/* Whether vectors g..g+count-1 are plain. */
static int step_plain(const step_strip *p, size_t g, size_t count) {
  const aft_step *step = p->job->step;
  return step->call->in[0].dtype == AFT_FLOAT && step->heads == step->dim && (p->first + g + count) * LANES <= step->dim;
}

/* Whether keys are gathered lane by lane, so that nobody wants to read them twice. */
VEC int step_gathered(const step_simd *job) { return job->each && job->step->heads != job->step->dim; }

/* [a V | a] of a run of tokens for `count` vectors of the strip from g on. Vectors of one head have one a. */
VEC void step_terms(step_strip *p, const step_run *run, size_t g, const int count, const int plain) {
  const step_simd *job = p->job;
  size_t step = job->cap * TERM;
  int shared = !plain && job->step->heads != job->step->dim && !job->each;
  float *to = p->terms + g * step + (run->i - p->base) * TERM;
  step_state *s = p->state + g;
  vec seen[BATCH], top[BATCH], last = vec_of(0);
  EACH(j, count) seen[j] = s[j].seen;
  EACH(j, count) top[j] = s[j].top;
  for (size_t r = 0; r < run->n; r++, to += TERM) {
    vec k[BATCH], v[BATCH], a[BATCH];
    int fresh[BATCH] = {0};
    if (!plain && step_gathered(job)) { /* step_largest has left it there */
      EACH(j, count) k[j] = vec_aligned(to + (size_t)j * step + LANES);
    } else {
      EACH(j, count) k[j] = step_run_key(p, run, r, g + (size_t)j, &fresh[j], plain);
    }
    EACH(j, count) v[j] = step_run_value(p, run, r, g + (size_t)j, k[j], plain);
    EACH(j, count) top[j] = vec_max(vec_magnitude(v[j]), top[j]);
    EACH(j, count) a[j] = k[j] - s[j].key;
    if (!shared) {
      vec_exps(a, count);
    } else {
      for (int j = 0; j < count; j++) {
        if (j == 0 || fresh[j]) last = vec_exp(a[j]);
        a[j] = last;
      }
    }
    EACH(j, count) v[j] *= a[j];
    EACH(j, count) seen[j] += v[j];
    EACH(j, count) vec_store_aligned(to + (size_t)j * step, v[j]);
    EACH(j, count) vec_store_aligned(to + (size_t)j * step + LANES, a[j]);
  }
  EACH(j, count) s[j].seen = seen[j];
  EACH(j, count) s[j].top = top[j];
}

/* The largest keys of a run, row after row; what the terms read later is asked for on the way. */
VEC void step_largest(step_strip *p, const step_run *run, vec *largest, const int plain) {
  const step_simd *job = p->job;
  int fresh;
  for (size_t r = 0; r < run->n; r++) {
    size_t row = (run->at.row + r) * job->step->dim + p->first * LANES;
    for (size_t l = 0; l < p->n * LANES; l += AFT_LINE / sizeof(float)) vec_fetch(run->at.v, row + l);
    for (size_t g = 0; g < p->n; g++) {
      vec k = step_run_key(p, run, r, g, &fresh, plain);
      if (!plain && step_gathered(job)) vec_store_aligned(p->terms + (g * job->cap + run->i + r - p->base) * TERM + LANES, k);
      largest[g] = vec_max(k, largest[g]);
    }
  }
}

VEC void step_scale(float *x, size_t n, vec scale) {
  for (size_t i = 0; i < n; i += LANES) vec_store_aligned(x + i, vec_aligned(x + i) * scale);
}

/* Takes the terms of vector g, and the sums of a chunk that is half done, to a larger key. */
static __attribute__((noinline)) void step_raise(step_strip *p, size_t g, vec key) {
  step_state *s = &p->state[g];
  vec scale = vec_exp(s->key - key);
  s->key = key;
  step_scale(p->terms + g * p->job->cap * TERM, (p->filled - p->base) * TERM, scale);
  if (p->kept || !p->begun) return;
  step_scale(p->sums + g * STEP_CHUNK * TERM, STEP_CHUNK * TERM, scale);
  step_scale(p->lost + g * STEP_CHUNK * TERM, STEP_CHUNK * TERM, scale);
}

/* Makes the terms of the tokens up to `end`. */
static void step_fill(step_strip *p, size_t end) {
  vec largest[STEP_GROUPS];
  step_run run;
  p->fresh = p->filled;
  for (size_t g = 0; g < p->n; g++) {
    largest[g] = vec_of(-INFINITY);
    p->state[g].before = p->state[g].key;
  }
  for (size_t i = p->filled; i < end; i += run.n) {
    run = step_run_from(p, i, end);
    if (step_plain(p, 0, p->n)) {
      step_largest(p, &run, largest, 1);
    } else {
      step_largest(p, &run, largest, 0);
    }
  }
  for (size_t g = 0; g < p->n; g++) {
    vec_bits raise = largest[g] > p->state[g].key + vec_of(AFT_RAISE);
    if (vec_any(raise)) step_raise(p, g, vec_pick(raise, largest[g], p->state[g].key));
  }
  for (size_t i = p->filled; i < end; i += run.n) {
    size_t g = 0;
    run = step_run_from(p, i, end);
    for (; g + BATCH <= p->n && step_plain(p, g, BATCH); g += BATCH) step_terms(p, &run, g, BATCH, 1);
    for (; g + BATCH <= p->n; g += BATCH) step_terms(p, &run, g, BATCH, 0);
    for (; g < p->n; g++) step_terms(p, &run, g, 1, 0);
  }
  p->filled = end;
}

/* Makes room for the terms of tokens up to `end`; those before `begin` are no longer needed. */
static void step_slide(step_strip *p, size_t begin, size_t end) {
  if (end - p->base <= p->job->cap) return;
  for (size_t g = 0; g < p->n; g++) {
    float *terms = p->terms + g * p->job->cap * TERM;
    memmove(terms, terms + (begin - p->base) * TERM, (p->filled - begin) * TERM * sizeof(float));
  }
  p->base = begin;
}

/* ---- what has left the window -------------------------------------------------------------------------------------- */

VEC void step_raise_left(step_state *s, vec k) {
  vec key = vec_pick(k > s->left_key + vec_of(AFT_RAISE), k, s->left_key);
  vec scale = vec_exp(s->left_key - key);
  step_times(&s->num, scale);
  step_times(&s->den, scale);
  s->left_key = key;
}

/* The terms of n tokens over the key of what has left the window, which is raised where it must be: 1, or all is left to
 * the caller to do token by token, 0. */
VEC int step_left_terms(step_state *s, const vec *k, vec *num, vec *den, const int n) {
  vec largest = s->gone;
  EACH(r, n) largest = vec_max(k[r], largest);
  if (__builtin_expect(vec_any(largest > s->left_key + vec_of(AFT_RAISE)), 0)) {
    if (n > 1) return 0;
    step_raise_left(s, largest);
  }
  s->gone = largest;
  EACH(r, n) den[r] = k[r] - s->left_key;
  vec_exps(den, n);
  EACH(r, n) num[r] *= den[r];
  return 1;
}

VEC void step_leave_some(step_strip *p, size_t g, size_t i, const int n) {
  step_state *s = &p->state[g];
  vec k[BATCH], num[BATCH], den[BATCH];
  int fresh;
  EACH(r, n) k[r] = step_key(p, i + (size_t)r, g, &fresh);
  EACH(r, n) num[r] = step_value(p, i + (size_t)r, g, k[r]);
  if (!step_left_terms(s, k, num, den, n)) {
    for (int r = 0; r < n; r++) {
      vec v = step_value(p, i + (size_t)r, g, k[r]);
      (void)step_left_terms(s, k + r, &v, den, 1);
      step_add(&s->num, v);
      step_add(&s->den, den[0]);
    }
    return;
  }
  for (int r = 1; r < n; r++) {
    num[0] += num[r];
    den[0] += den[r];
  }
  step_add(&s->num, num[0]);
  step_add(&s->den, den[0]);
}

/* Tokens from..to-1 leave the window. */
static void step_leave(step_strip *p, size_t g, size_t from, size_t to) {
  for (; from + BATCH <= to; from += BATCH) step_leave_some(p, g, from, BATCH);
  for (; from < to; from++) step_leave_some(p, g, from, 1);
}

/* The sums of the state; those that no chunk of ours has written are for double. */
static void step_begin_left(step_strip *p, size_t g) {
  const aft_step *step = p->job->step;
  step_state *s = &p->state[g];
  vec zero = vec_of(0);
  int fresh;
  s->left_key = s->key = vec_of(-FLT_MAX);
  s->gone = vec_of(-INFINITY);
  step_set(&s->num, zero);
  step_set(&s->den, zero);
  s->tiny = vec_of((float)(p->q.held + p->q.length) * AFT_DEN_TINY);
  if (!p->q.past) return;
  const aft_tensor *sums = &step->call->in[step->sums];
  size_t column = (p->first + g) * LANES, lanes = step_lanes(p->job, p->first + g);
  vec m = step_read_heads(p, &sums[0], p->q.b, g, &fresh), d = step_read_heads(p, &sums[2], p->q.b, g, &fresh);
  vec n = vec_read(&sums[1], p->q.b * step->dim + column, lanes);
  vec_bits none = d == zero, fine = (vec_magnitude(m) <= vec_of(FLT_MAX)) & (d >= vec_of(0.5f)) & (d <= vec_of(0x1p60f));
  fine &= vec_magnitude(n) <= vec_of(AFT_V_ODD);
  for (size_t l = 0; l < lanes; l++) {
    if (!(none[l] | fine[l])) p->job->f->odd[p->q.b * step->dim + column + l] = 1;
  }
  s->left_key = s->key = vec_pick(fine, m, s->key);
  s->gone = vec_pick(fine, m, s->gone);
  n = vec_pick(fine, n, zero) * s->down;
  d = vec_pick(fine, d, zero);
  s->top = vec_pick(fine, vec_magnitude(n) / d, zero);
  step_set(&s->num, n);
  step_set(&s->den, d);
  s->tiny += d * vec_of(AFT_DEN_TINY);
}

/* Writes a row of a head's sums: one number a head, from its first channel. */
VEC void step_write_heads(const step_strip *p, void *out, size_t g, vec x) {
  const aft_step *step = p->job->step;
  size_t column = (p->first + g) * LANES, lanes = step_lanes(p->job, p->first + g);
  if (step->heads == step->dim) {
    vec_write(out, AFT_FLOAT, p->q.b * step->dim + column, x, lanes);
    return;
  }
  for (size_t l = 0; l < lanes; l++) {
    float y = x[l];
    size_t at = p->q.b * step->heads + (column + l) / step->group;
    if ((column + l) % step->group == 0) memcpy((char *)out + at * sizeof y, &y, sizeof y);
  }
}

/* m, n and d after the chunk, over the largest key itself: the power of e that takes it there is double's, as there may be one
 * such step a token. */
static void step_store_left(step_strip *p, size_t g) {
  const aft_step *step = p->job->step;
  step_state *s = &p->state[g];
  void *const *out = step->call->out + step->new_sums;
  if (vec_any((s->gone != s->left_key) & (s->gone > vec_of(-INFINITY)))) {
    for (size_t l = 0; l < LANES; l++) {
      if (!(s->den[l] > 0) || s->gone[l] == s->left_key[l]) continue;
      double f = exp((double)s->left_key[l] - s->gone[l]);
      s->num[l] *= f;
      s->den[l] *= f;
    }
  }
  vec num = step_narrow(&s->num) * s->up, den = step_narrow(&s->den);
  vec_bits none = den == vec_of(0);
  num = vec_pick(none, vec_of(0), num);
  vec_write(out[1], AFT_FLOAT, p->q.b * step->dim + (p->first + g) * LANES, num, step_lanes(p->job, p->first + g));
  step_write_heads(p, out[0], g, vec_pick(none, vec_of(AFT_EMPTY_MAX), s->gone));
  step_write_heads(p, out[2], g, den);
}

#endif
