/* AFTConv2D a vector of channels at a time, and AFTConv1D where its channels have different heads: every lane has weights of
 * its own.
 *
 * A tile is up to GRID_TILE neighbouring positions of a grid row. In every row of their windows, the columns from the first
 * one's window to the end of the last one's are weighed for all of them: exp(bias) inside a position's own window, exp(0)
 * beside it. The rest of the row comes as sums of its beginning and end, the rows above and below as sums of rows. Nothing
 * is ever subtracted.
 *
 * Not causal, the key is the largest of all. Causal, it is raised row by row: a position that cannot see its row's largest
 * key may be left with sums too small to trust, and is computed from the sum of the rows above its window, as it was
 * before the raise, and the logits of the rows since: O((top+1) * columns). */
#include "aft_conv2d_terms_simd.h"

/* ---- exact path ---------------------------------------------------------------------------------------------------- */

/* A position (y,x) of one vector. */
typedef struct {
  const grid_strip *p;
  size_t i, y, x; /* lane i of the strip */
} grid_at;

typedef struct {
  const grid_at *at;
  size_t from;
} grid_exact_from;

VEC vec grid_exact_value(const void *arg, size_t i, vec k) {
  const grid_exact_from *f = arg;
  const grid_strip *p = f->at->p;
  (void)k;
  return grid_value(p->job, p->batch, f->from + i, p->first + f->at->i) * p->lane[f->at->i].down;
}

/* Adds the sources of columns lo..hi-1 of row yy. */
static void grid_exact_row(const grid_at *at, size_t yy, size_t lo, size_t hi, exact_sums *sums) {
  const grid_strip *p = at->p;
  const aft_window *window = &p->job->w;
  const grid_lane *lane = &p->lane[at->i];
  size_t a = yy + window->top - at->y; /* past the last tap where it would be negative */
  _Alignas(64) float w[EXACT_CHUNK * LANES];
  while (hi > lo) {
    size_t n = aft_min(EXACT_CHUNK, hi - lo), from = hi - n, t = yy * window->cols + from;
    for (size_t i = 0; i < n; i++) {
      size_t b = from + i + window->left - at->x;
      int inside = a < window->kernel_rows && b < window->kernel_cols;
      vec bias = inside ? vec_aligned(lane->biases + (a * window->kernel_cols + b) * LANES) : vec_of(0);
      vec_store_aligned(w + i * LANES, bias);
    }
    const vec *k = (const vec *)(const void *)(lane->keys + t * LANES);
    exact_add(sums, k, (exact_bias){w, 1}, n, grid_exact_value, &(grid_exact_from){at, t});
    hi = from;
  }
}

/* Adds all sources of rows y0..y1-1, the last ones first. */
static void grid_exact_rows(const grid_at *at, size_t y0, size_t y1, exact_sums *sums) {
  while (y1 > y0) grid_exact_row(at, --y1, 0, at->p->job->w.cols, sums);
}

/* Causal: the position's own row, then the rows above it in the window unless they cannot count (a key above the row is at
 * most AFT_RAISE above the one before the raise), and all other rows as summed before the raise. From all logits where
 * that is not to be had or too small. */
static __attribute__((noinline)) void grid_exact(const grid_at *at, vec *num, vec *den) {
  const grid_simd *job = at->p->job;
  const grid_lane *lane = &at->p->lane[at->i];
  size_t y0 = at->y > job->w.top ? at->y - job->w.top : 0;
  vec_bits bad = {0};
  bad = ~bad;
  *num = vec_of(0);
  *den = vec_of(1);
  if (job->causal) {
    exact_sums s = exact_empty();
    s.num = vec_aligned(lane->saved);
    s.den = vec_aligned(lane->saved + LANES);
    s.top.hi = vec_of(0.5f) * lane->before;
    grid_exact_row(at, at->y, 0, at->x + 1, &s);
    vec reach = vec_of(0.5f) * (lane->before + lane->shift + vec_of(AFT_RAISE - EXACT_FAR));
    if (vec_any(~(s.top.hi > reach))) grid_exact_rows(at, y0, at->y, &s);
    bad = ~(s.den >= vec_of(job->tiny));
    *num = s.num;
    *den = s.den;
  }
  if (!vec_any(bad)) return;
  exact_sums s = exact_empty();
  if (job->causal) {
    grid_exact_row(at, at->y, 0, at->x + 1, &s);
    grid_exact_rows(at, 0, at->y, &s);
  } else {
    grid_exact_rows(at, 0, job->w.rows, &s);
  }
  *num = vec_pick(bad, s.num, *num);
  *den = vec_pick(bad, vec_max(vec_of(0x1p-126f), s.den), *den);
}

/* ---- positions ----------------------------------------------------------------------------------------------------- */

/* Positions (y,x).. of a tile whose sums cannot all be trusted: replaces those that cannot. */
static __attribute__((noinline)) void grid_repair(const grid_strip *p, size_t l, size_t y, size_t x, size_t n, float *sums) {
  for (size_t j = 0; j < n; j++) {
    vec_bits bad = ~(vec_aligned(sums + j * TERM + LANES) >= vec_of(p->job->tiny));
    if (!vec_any(bad)) continue;
    vec num, den;
    grid_at at = {p, l, y, x + j};
    grid_exact(&at, &num, &den);
    tile_replace(sums + j * TERM, bad, num, den);
  }
}

/* Y of n positions of a tile from their finished sums. */
VEC void grid_finish(const grid_strip *p, size_t l, size_t y, size_t x, size_t n, float *sums) {
  const grid_simd *job = p->job;
  const aft_fast *f = job->f;
  size_t g = p->first + l, i = (p->batch * job->t + y * job->w.cols + x) * job->d + g * LANES;
  if (!tile_trusted(sums, n, job->tiny)) grid_repair(p, l, y, x, n, sums);
  tile_finish(f->call, f->out, i, job->d, sums, p->lane[l].up, grid_lanes(job, g), n);
}

/* sums += the product of `rows` x `cols` sources with the weights of n positions, whose own stand one offset apart; `run` rows
 * are summed before their sums are added to the totals. */
VEC void grid_product(float *sums, const float *weights, size_t weights_row, const float *terms, size_t terms_row,
                      size_t rows, size_t cols, size_t run, const int n) {
  vec num[GRID_TILE], den[GRID_TILE], all_num[GRID_TILE], all_den[GRID_TILE];
  EACH(j, n) all_num[j] = vec_aligned(sums + j * TERM);
  EACH(j, n) all_den[j] = vec_aligned(sums + j * TERM + LANES);
  while (rows > 0) {
    size_t some = aft_min(rows, run);
    rows -= some;
    EACH(j, n) num[j] = den[j] = vec_of(0);
    for (; some > 0; some--, weights += weights_row, terms += terms_row) {
      const float *w = weights;
      for (const float *term = terms; term != terms + cols * TERM; term += TERM, w += LANES) {
        __asm__("" : "+r"(w)); /* or the compiler carries weights from one source to the next, on the stack */
        vec v = vec_aligned(term), a = vec_aligned(term + LANES);
        EACH(j, n) {
          vec weight = vec_held(vec_aligned(w - j * LANES));
          num[j] = vec_madd(weight, v, num[j]);
          den[j] = vec_madd(weight, a, den[j]);
        }
      }
    }
    EACH(j, n) all_num[j] = vec_held(all_num[j] + num[j]);
    EACH(j, n) all_den[j] = vec_held(all_den[j] + den[j]);
  }
  EACH(j, n) vec_store_aligned(sums + j * TERM, all_num[j]);
  EACH(j, n) vec_store_aligned(sums + j * TERM + LANES, all_den[j]);
}

static void grid_product_of(float *sums, const float *weights, size_t weights_row, const float *terms, size_t terms_row,
                            size_t rows, size_t cols, size_t n) {
  size_t run = GRID_RUN / cols;
#define GRID_CASE(k)                                                                  \
  case k:                                                                             \
    if (k <= GRID_TILE) {                                                             \
      grid_product(sums, weights, weights_row, terms, terms_row, rows, cols, run, k); \
    }                                                                                 \
    break;
  switch (n) {
    GRID_CASE(1)
    GRID_CASE(2)
    GRID_CASE(3)
    GRID_CASE(4)
    GRID_CASE(5)
    GRID_CASE(6)
  }
#undef GRID_CASE
}

/* The rows y0..y1-1 of the windows of tile i in row y, the columns that some of them reach. */
static void grid_windows(const grid_simd *job, const grid_lane *lane, size_t y, size_t i, size_t y0, size_t y1,
                         float *sums) {
  size_t x0 = grid_tile(job, i), n = grid_tile(job, i + 1) - x0, to = grid_to(job, i);
  for (size_t x = grid_from(job, i); x < to; x += GRID_RUN) {
    size_t offset = x + job->w.left + GRID_TILE - 1 - x0;
    const float *weights = lane->weights + ((y0 + job->w.top - y) * job->offsets + offset) * LANES;
    grid_product_of(sums, weights, job->offsets * LANES, lane->terms + (y0 * job->w.cols + x) * TERM, job->w.cols * TERM,
                    y1 - y0, aft_min(GRID_RUN, to - x), n);
  }
}

/* Asks for Q and Y of n positions a row below (y,x)..: a product takes less time than memory does to answer. */
VEC void grid_fetch_tile(const grid_strip *p, size_t l, size_t y, size_t x, size_t n) {
  const grid_simd *job = p->job;
  const aft_tensor *q = &job->f->call->in[0], out = {.dtype = q->dtype, .data = job->f->out};
  size_t t = y * job->w.cols + x, column = (p->first + l) * LANES, next = t + job->w.cols;
  if (next >= job->t) {
    next = x;
    column += LANES;
  }
  for (size_t j = 0; j < n; j++) {
    size_t i = (p->batch * job->t + next + j) * job->d + column;
    vec_fetch_far(q, i);
    vec_fetch_far(&out, i);
  }
}

/* num and den outside the rows y0..y1-1 and the columns that the windows of tile i in row y reach. */
VEC void grid_outside(const grid_simd *job, const grid_lane *lane, size_t y, size_t i, size_t y0, size_t y1, vec *num,
                      vec *den) {
  *num = vec_aligned(lane->above + y0 * TERM);
  *den = vec_aligned(lane->above + y0 * TERM + LANES);
  if (!job->causal) {
    *num += vec_aligned(lane->below + y1 * TERM);
    *den += vec_aligned(lane->below + y1 * TERM + LANES);
  }
  for (size_t yy = y0; grid_from(job, i) > 0 && yy < y1; yy++) {
    const float *begin = lane->begin + (yy * job->tiles + i) * TERM;
    *num += vec_aligned(begin);
    *den += vec_aligned(begin + LANES);
  }
  if (grid_to(job, i) == job->w.cols) return;
  for (size_t yy = y0; yy < (job->causal ? y : y1); yy++) {
    const float *end = lane->end + (yy * job->tiles + i) * TERM;
    *num += vec_aligned(end);
    *den += vec_aligned(end + LANES);
  }
}

static void grid_tile_out(const grid_strip *p, size_t l, size_t y, size_t i) {
  const grid_simd *job = p->job;
  const grid_lane *lane = &p->lane[l];
  const aft_window *w = &job->w;
  size_t y0 = y > w->top ? y - w->top : 0, y1 = aft_min(w->rows, y + (w->kernel_rows - w->top)), x0 = grid_tile(job, i);
  size_t n = grid_tile(job, i + 1) - x0;
  _Alignas(64) float sums[GRID_TILE * TERM];
  vec num, den;
  grid_fetch_tile(p, l, y, x0, n);
  grid_outside(job, lane, y, i, y0, y1, &num, &den);
  for (size_t j = 0; j < n; j++) {
    vec_store_aligned(sums + j * TERM, lane->rest * num);
    vec_store_aligned(sums + j * TERM + LANES, lane->rest * den);
  }
  grid_windows(job, lane, y, i, y0, y1, sums);
  grid_finish(p, l, y, x0, n, sums);
}

static void grid_row_out(const grid_strip *p, size_t l, size_t y) {
  for (size_t i = 0; i < p->job->tiles; i++) grid_tile_out(p, l, y, i);
}

static void grid_sweep(grid_strip *p) {
  const grid_simd *job = p->job;
  vec largest[GRID_GROUPS];
  if (!job->causal) grid_largest(p, 0, job->t, largest);
  for (size_t l = 0; l < p->n; l++) {
    grid_lane *lane = &p->lane[l];
    lane->num_lost = lane->den_lost = lane->top = vec_of(0);
    memset(lane->above, 0, TERM * sizeof(float));
    lane->key = vec_of(-FLT_MAX);
    if (!job->causal) lane->key = vec_max(lane->key, largest[l]);
  }
  for (size_t y = 0; y < job->w.rows; y++) {
    if (job->causal) grid_largest(p, y * job->w.cols, (y + 1) * job->w.cols, largest);
    for (size_t l = 0; job->causal && l < p->n; l++) grid_raise(p, l, y, largest[l]);
    grid_row_terms(p, y);
    for (size_t l = 0; l < p->n; l++) {
      grid_row_sums(job, &p->lane[l], y);
      if (job->causal) grid_row_out(p, l, y);
    }
  }
  for (size_t l = 0; !job->causal && l < p->n; l++) {
    grid_below(job, &p->lane[l]);
    for (size_t y = 0; y < job->w.rows; y++) grid_row_out(p, l, y);
  }
}

static int grid_judge(grid_strip *p, int scaled) {
  const grid_simd *job = p->job;
  int again = 0;
  for (size_t i = 0; i < p->n; i++) {
    grid_lane *lane = &p->lane[i];
    const float *all = lane->above + job->w.rows * TERM;
    for (size_t l = 0; l < grid_lanes(job, p->first + i); l++) {
      unsigned char *odd = &job->f->odd[p->batch * job->d + (p->first + i) * LANES + l];
      float down = lane->down[l], up = lane->up[l];
      if (lane->odd) *odd = 1;
      again |= vec_judge(all[l], all[LANES + l], lane->top[l], scaled, &down, &up, odd);
      lane->down[l] = down;
      lane->up[l] = up;
    }
  }
  return again;
}

static float *grid_place(float *floats, size_t *at, size_t n) {
  size_t begin = aft_room(at, n);
  return floats == NULL ? NULL : floats + begin;
}

/* Places the arrays of one vector in `floats` from `at` on, or only counts where that is NULL; where the last one ends. */
static size_t grid_room(const grid_simd *job, grid_lane *lane, float *floats, size_t at) {
  const aft_window *w = &job->w;
  size_t sums = aft_mul(aft_mul(w->rows, job->tiles), TERM), rows = aft_mul(w->rows + 1, TERM);
  lane->weights = grid_place(floats, &at, aft_mul(aft_mul(w->kernel_rows, job->offsets), LANES));
  lane->biases = grid_place(floats, &at, aft_mul(aft_mul(w->kernel_rows, w->kernel_cols), LANES));
  lane->keys = grid_place(floats, &at, aft_mul(job->t, LANES));
  lane->terms = grid_place(floats, &at, aft_mul(job->t, TERM));
  lane->begin = grid_place(floats, &at, sums);
  lane->end = grid_place(floats, &at, sums);
  lane->row = grid_place(floats, &at, rows);
  lane->above = grid_place(floats, &at, rows);
  lane->below = grid_place(floats, &at, rows);
  lane->saved = grid_place(floats, &at, TERM);
  return at;
}

static void grid_task(void *arg, size_t i, double *scratch) {
  const grid_simd *job = arg;
  grid_strip p = {.job = job, .first = i % job->strips * GRID_GROUPS};
  size_t b0 = i / job->strips * GRID_BATCH, at = 0;
  p.n = aft_min(GRID_GROUPS, job->groups - p.first);
  for (size_t l = 0; l < p.n; l++) {
    at = grid_room(job, &p.lane[l], aft_line(scratch), at);
    grid_pack(job, p.first + l, &p.lane[l]);
  }
  for (p.batch = b0; p.batch < aft_min(job->batches, b0 + GRID_BATCH); p.batch++) {
    for (size_t l = 0; l < p.n; l++) p.lane[l].down = p.lane[l].up = vec_of(1);
    grid_sweep(&p);
    if (!grid_judge(&p, 0)) continue;
    grid_sweep(&p);
    (void)grid_judge(&p, 1);
  }
}

static int grid_run(const aft_fast *f, aft_window window) {
  const aft_call *call = f->call;
  grid_simd job = {.f = f, .w = window, .causal = call->attrs.causal == 1};
  aft_window_cut(&job.w);
  job.batches = (size_t)call->in[0].dims[0];
  job.t = (size_t)call->in[0].dims[1];
  job.d = (size_t)call->in[0].dims[2];
  job.heads = (size_t)call->in[1].dims[2];
  job.groups = aft_div_up(job.d, LANES);
  job.strips = aft_div_up(job.groups, GRID_GROUPS);
  job.tiles = aft_div_up(job.w.cols, GRID_TILE);
  job.offsets = job.w.kernel_cols + 2 * (GRID_TILE - 1);
  job.tiny = (float)job.t * AFT_DEN_TINY;
  size_t at = 0;
  for (size_t l = 0; l < aft_min(GRID_GROUPS, job.groups); l++) at = grid_room(&job, &(grid_lane){.odd = 0}, NULL, at);
  return aft_tasks(f->host, grid_task, &job, aft_div_up(job.batches, GRID_BATCH) * job.strips, aft_doubles(at));
}

static int simd_conv2d(const aft_fast *f) { return grid_run(f, aft_conv2d_window(f->call, f->out)); }

/* AFTConv1D as a grid of one row: for heads that the kernel of lines does not fit. */
static int simd_conv1d_each(const aft_fast *f) { return grid_run(f, aft_conv1d_window(f->call, f->out)); }
