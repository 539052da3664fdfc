/* AFTSimple a vector of channels at a time: one sweep over the sources with running sums, whose key is raised when a
 * larger one comes. The key is always one of those seen, so den >= 1 and no position needs another path. */
#include "aft_vec.h"

enum {
  SIMPLE_GROUPS = 256 / LANES, /* vectors of channels in a task: the wider, the fewer pieces the rows are read in */
  SIMPLE_ROWS = 4,             /* positions whose terms are summed before they are added to the running sums */
  SIMPLE_AHEAD = 8             /* rows between what is read and what is fetched */
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
  size_t strips;
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

/* Adds one source. A key of -Inf removes it, whatever V holds. */
VEC void simple_term(simple_state *s, vec k, vec v, vec *num, vec *den) {
  v = (vec)((vec_bits)v & ~(k == vec_of(-INFINITY))) * s->down;
  vec a = vec_exp(k - s->key);
  s->top = vec_max(vec_magnitude(v), s->top);
  *num = vec_madd(a, v, *num);
  *den += a;
}

/* Asks for a piece of the row that comes later: Q is read in this sweep when causal. */
VEC void simple_fetch(const aft_call *call, size_t at, int causal) {
  if (causal) vec_fetch(&call->in[0], at);
  vec_fetch(&call->in[1], at);
  vec_fetch(&call->in[2], at);
}

/* num/den of the first `rows` of SIMPLE_ROWS sources from s0 on, of one vector; Y when causal. */
VEC void simple_rows(simple_strip *p, size_t g, size_t s0, size_t rows, int causal) {
  const aft_call *call = p->f->call;
  size_t n = aft_min(LANES, p->n - g * LANES), at = (p->batch * p->sources + s0) * p->dim + p->first + g * LANES;
  simple_state s = p->state[g];
  vec k[SIMPLE_ROWS], num = vec_of(0), den = vec_of(0), largest = vec_of(-INFINITY);
  if (g * LANES % (AFT_LINE / sizeof(float)) == 0) {
    for (size_t r = 0; r < rows; r++) simple_fetch(call, at + (r + SIMPLE_AHEAD) * p->dim, causal);
  }
#pragma GCC unroll 4
  for (size_t r = 0; r < rows; r++) {
    k[r] = vec_read(&call->in[1], at + r * p->dim, n);
    largest = vec_max(k[r], largest);
  }
  if (__builtin_expect(vec_any(largest > s.key + vec_of(AFT_RAISE)), 0)) {
    for (size_t r = 0; r < rows; r++) {
      simple_raise(&s, k[r], &num, &den);
      simple_term(&s, k[r], vec_read(&call->in[2], at + r * p->dim, n), &num, &den);
      if (causal) {
        vec_finish(call, p->f->out, at + r * p->dim, s.num + num, vec_max(vec_of(0x1p-126f), s.den + den), s.up, n);
      }
    }
  } else {
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
      simple_term(&s, k[r], vec_read(&call->in[2], at + r * p->dim, n), &num, &den);
      if (causal) {
        vec_finish(call, p->f->out, at + r * p->dim, s.num + num, vec_max(vec_of(0x1p-126f), s.den + den), s.up, n);
      }
    }
  }
  vec_add(&s.num, &s.num_lost, num);
  vec_add(&s.den, &s.den_lost, den);
  p->state[g] = s;
}

static void simple_sweep(simple_strip *p) {
  size_t groups = aft_div_up(p->n, LANES), s0 = 0;
  int causal = p->f->call->attrs.causal == 1;
  for (size_t g = 0; g < groups; g++) {
    simple_state *s = &p->state[g];
    s->key = vec_of(-FLT_MAX);
    s->num = s->den = s->num_lost = s->den_lost = s->top = vec_of(0);
  }
  for (; s0 + SIMPLE_ROWS <= p->sources; s0 += SIMPLE_ROWS) {
    if (causal) {
      for (size_t g = 0; g < groups; g++) simple_rows(p, g, s0, SIMPLE_ROWS, 1);
    } else {
      for (size_t g = 0; g < groups; g++) simple_rows(p, g, s0, SIMPLE_ROWS, 0);
    }
  }
  for (size_t g = 0; g < groups; g++) simple_rows(p, g, s0, p->sources - s0, causal);
  if (causal) return;

  vec ratio[SIMPLE_GROUPS];
  for (size_t g = 0; g < groups; g++) {
    ratio[g] = p->state[g].num / vec_max(vec_of(0x1p-126f), p->state[g].den);
  }
  for (size_t t = 0; t < p->positions; t++) {
    size_t at = (p->batch * p->positions + t) * p->dim + p->first;
    for (size_t g = 0; g < groups; g++) {
      vec_finish(p->f->call, p->f->out, at + g * LANES, ratio[g], vec_of(1), p->state[g].up,
                 aft_min(LANES, p->n - g * LANES));
    }
  }
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
  simple_strip p = {.f = task->f, .batch = i / task->strips, .first = i % task->strips * SIMPLE_GROUPS * LANES};
  p.sources = (size_t)call->in[1].dims[1];
  p.positions = (size_t)call->in[0].dims[1];
  p.dim = (size_t)call->in[0].dims[2];
  p.n = aft_min(SIMPLE_GROUPS * LANES, p.dim - p.first);
  for (size_t g = 0; g < SIMPLE_GROUPS; g++) p.state[g].down = p.state[g].up = vec_of(1);
  simple_sweep(&p);
  if (!simple_again(&p, 0)) return;
  simple_sweep(&p);
  (void)simple_again(&p, 1);
}

static int simd_simple(const aft_fast *f) {
  simple_task task = {f, aft_div_up((size_t)f->call->in[0].dims[2], SIMPLE_GROUPS * LANES)};
  return aft_tasks(f->host, simple_task_run, &task, (size_t)f->call->in[0].dims[0] * task.strips, 0);
}
