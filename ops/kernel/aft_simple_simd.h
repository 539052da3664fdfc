/* AFTSimple a vector of channels at a time: one sweep over the sources with running sums, whose key is raised when a
 * larger one comes. The key is always one of those seen, so den >= 1 and no position needs another path. */
#include "aft_vec.h"

enum {
  SIMPLE_GROUPS = 256 / LANES, /* vectors of channels in a causal task: the wider, the fewer pieces the rows are read in */
  SIMPLE_FEW = LANES < 16 ? SIMPLE_GROUPS : 4, /* and in another: as many as registers hold the sums of */
  SIMPLE_ROWS = BATCH,         /* positions whose terms are summed before they are added to the running sums */
  SIMPLE_AHEAD = 8,            /* rows between what is read and what is fetched */
  SIMPLE_FEW_AHEAD = LANES < 16 ? SIMPLE_AHEAD : 16 /* the same, where a row takes less time */
};

/* num and den over exp(key), with what rounding took from them, and the largest |V|. */
typedef struct {
  vec key, num, den, num_lost, den_lost, top, down, up;
} simple_state;

typedef struct {
  const aft_fast *f;
  size_t batch, first, n, sources, positions, dim;
  simple_state state[SIMPLE_GROUPS];
} simple_strip;

typedef struct {
  const aft_fast *f;
  size_t strips, width; /* channels of one */
} simple_task;

/* Raises the key of those lanes where k lies far above it; part is a sum not yet added. */
VEC void simple_raise(simple_state *s, vec k, vec *part_num, vec *part_den) {
  vec key = vec_pick(k > s->key + vec_of(AFT_RAISE), k, s->key);
  vec scale = vec_exp(s->key - key);
  s->num *= scale;
  s->den *= scale;
  s->num_lost *= scale;
  s->den_lost *= scale;
  *part_num *= scale;
  *part_den *= scale;
  s->key = key;
}

/* The terms of n sources of one vector. A key of -Inf removes a source, whatever V holds. */
VEC void simple_terms(simple_state *s, const vec *k, const vec *v, vec *num, vec *den, const int n) {
  vec a[SIMPLE_ROWS];
  EACH(r, n) a[r] = k[r] - s->key;
  EACH(r, n) num[r] = (vec)((vec_bits)v[r] & ~(k[r] == vec_of(-INFINITY))) * s->down;
  EACH(r, n) s->top = vec_max(vec_magnitude(num[r]), s->top);
  vec_exps(a, n);
  EACH(r, n) num[r] *= a[r];
  EACH(r, n) den[r] = a[r];
}

/* Asks for a piece of the row that comes later: Q is read in this sweep when causal. */
VEC void simple_fetch(const aft_call *call, size_t at, int causal) {
  if (causal) vec_fetch(&call->in[0], at);
  vec_fetch(&call->in[1], at);
  vec_fetch(&call->in[2], at);
}

/* Sources s0..s0+n-1 of one vector, n <= SIMPLE_ROWS, and Y when causal. */
VEC void simple_rows(simple_strip *p, size_t g, size_t s0, const int n, int causal) {
  const aft_call *call = p->f->call;
  size_t lanes = aft_min(LANES, p->n - g * LANES), at = (p->batch * p->sources + s0) * p->dim + p->first + g * LANES;
  simple_state s = p->state[g];
  vec k[SIMPLE_ROWS], v[SIMPLE_ROWS], num[SIMPLE_ROWS], den[SIMPLE_ROWS], up[SIMPLE_ROWS], largest = vec_of(-INFINITY);
  if (g * LANES % (AFT_LINE / sizeof(float)) == 0) {
    EACH(r, n) simple_fetch(call, at + ((size_t)r + (causal ? SIMPLE_AHEAD : SIMPLE_FEW_AHEAD)) * p->dim, causal);
  }
  EACH(r, n) k[r] = vec_read(&call->in[1], at + (size_t)r * p->dim, lanes);
  EACH(r, n) v[r] = vec_read(&call->in[2], at + (size_t)r * p->dim, lanes);
  EACH(r, n) largest = vec_max(k[r], largest);
  EACH(r, n) up[r] = s.up;
  if (__builtin_expect(vec_any(largest > s.key + vec_of(AFT_RAISE)), 0)) {
    vec part_num = vec_of(0), part_den = vec_of(0);
    for (int r = 0; r < n; r++) {
      simple_raise(&s, k[r], &part_num, &part_den);
      simple_terms(&s, k + r, v + r, num + r, den + r, 1);
      part_num += num[r];
      part_den += den[r];
      num[r] = s.num + part_num;
      den[r] = vec_max(vec_of(0x1p-126f), s.den + part_den);
    }
    vec_add(&s.num, &s.num_lost, part_num);
    vec_add(&s.den, &s.den_lost, part_den);
  } else {
    simple_terms(&s, k, v, num, den, n);
    for (int r = 1; r < n; r++) {
      num[r] += num[r - 1];
      den[r] += den[r - 1];
    }
    vec part_num = num[n - 1], part_den = den[n - 1];
    EACH(r, n) num[r] += s.num;
    EACH(r, n) den[r] = vec_max(vec_of(0x1p-126f), s.den + den[r]);
    vec_add(&s.num, &s.num_lost, part_num);
    vec_add(&s.den, &s.den_lost, part_den);
  }
  if (causal) vec_finish_some(call, p->f->out, at, p->dim, num, den, up, lanes, n);
  p->state[g] = s;
}

/* The sources in one sweep. */
VEC void simple_sources(simple_strip *p, size_t groups, int causal) {
  size_t s = 0;
  for (; s + SIMPLE_ROWS <= p->sources; s += SIMPLE_ROWS) {
    for (size_t g = 0; g < groups; g++) simple_rows(p, g, s, SIMPLE_ROWS, causal);
  }
  for (; s < p->sources; s++) {
    for (size_t g = 0; g < groups; g++) simple_rows(p, g, s, 1, causal);
  }
}

/* Every position gets the same ratio. */
static void simple_positions(simple_strip *p, size_t groups) {
  const aft_call *call = p->f->call;
  size_t whole = p->n / LANES;
  vec ratio[SIMPLE_GROUPS], one[SIMPLE_GROUPS], up[SIMPLE_GROUPS], num[SIMPLE_GROUPS];
  for (size_t g = 0; g < groups; g++) {
    ratio[g] = p->state[g].num / vec_max(vec_of(0x1p-126f), p->state[g].den);
    one[g] = vec_of(1);
    up[g] = p->state[g].up;
  }
  for (size_t t = 0; t < p->positions; t++) {
    size_t at = (p->batch * p->positions + t) * p->dim + p->first;
    for (size_t i = 0; i < p->n; i += AFT_LINE / sizeof(float)) vec_fetch(&call->in[0], at + SIMPLE_AHEAD * p->dim + i);
    memcpy(num, ratio, groups * sizeof *num);
    vec_finish_many(call, p->f->out, at, LANES, num, one, up, LANES, whole);
    if (whole < groups) {
      size_t rest = whole * LANES;
      vec_finish_some(call, p->f->out, at + rest, 0, num + whole, one + whole, up + whole, p->n - rest, 1);
    }
  }
}

static void simple_sweep(simple_strip *p) {
  size_t groups = aft_div_up(p->n, LANES);
  for (size_t g = 0; g < groups; g++) {
    simple_state *s = &p->state[g];
    s->key = vec_of(-FLT_MAX);
    s->num = s->den = s->num_lost = s->den_lost = s->top = vec_of(0);
  }
  if (p->f->call->attrs.causal == 1) {
    simple_sources(p, groups, 1);
    return;
  }
  simple_sources(p, groups, 0);
  simple_positions(p, groups);
}

/* Whether some channels need another sweep, with V scaled; marks those that are odd. */
static int simple_again(simple_strip *p, int scaled) {
  int again = 0;
  for (size_t j = 0; j < p->n; j++) {
    simple_state *s = &p->state[j / LANES];
    size_t lane = j % LANES;
    float down = s->down[lane], up = s->up[lane];
    again |= vec_judge(s->num[lane], s->den[lane], s->top[lane], scaled, &down, &up,
                       &p->f->odd[p->batch * p->dim + p->first + j]);
    s->down[lane] = down;
    s->up[lane] = up;
  }
  return again;
}

static void simple_task_run(void *arg, size_t i, double *scratch) {
  const simple_task *task = arg;
  const aft_call *call = task->f->call;
  (void)scratch;
  simple_strip p = {.f = task->f, .batch = i / task->strips, .first = i % task->strips * task->width};
  p.sources = (size_t)call->in[1].dims[1];
  p.positions = (size_t)call->in[0].dims[1];
  p.dim = (size_t)call->in[0].dims[2];
  p.n = aft_min(task->width, p.dim - p.first);
  for (size_t g = 0; g < SIMPLE_GROUPS; g++) p.state[g].down = p.state[g].up = vec_of(1);
  simple_sweep(&p);
  if (!simple_again(&p, 0)) return;
  simple_sweep(&p);
  (void)simple_again(&p, 1);
}

static int simd_simple(const aft_fast *f) {
  simple_task task = {.f = f, .width = (f->call->attrs.causal == 1 ? SIMPLE_GROUPS : SIMPLE_FEW) * LANES};
  task.strips = aft_div_up((size_t)f->call->in[0].dims[2], task.width);
  return aft_tasks(f->host, simple_task_run, &task, (size_t)f->call->in[0].dims[0] * task.strips, 0);
}
