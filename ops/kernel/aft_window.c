/* Sums over a grid with a bias in a window.
 *
 * The in-window terms are summed with their own weight exp(bias), and what is outside comes as sums of the terms of whole
 * rows above and below the window and of the ends of its rows left and right of it. The shorter form "all terms plus
 * (exp(bias)-1) times those in the window" is a subtraction in disguise: where the window holds the large keys under a
 * very negative bias, nothing is left of the digits. Here nothing is ever subtracted.
 *
 *     above        y0: first row of the window, y1: one past its last
 *     gone|taps|right   one such line for each row y0..y1-1; taps are the columns x0..x1-1
 *     below
 *
 * A task takes WINDOW_LANES channels of one batch entry over the whole grid. */
#include "aft_window.h"

enum { WINDOW_LANES = 32 };

/* Where a task's arrays stand in its scratch; `width` is twice its channels: [num | den]. */
typedef struct {
  size_t terms;  /* (T, width) what a source adds to num and den, bias 0 */
  size_t right;  /* (T, width) sums of the terms from this column to the end of the row */
  size_t above;  /* (rows+1, width) sums of all rows before */
  size_t below;  /* (rows+1, width) sums of all rows from here on */
  size_t gone;   /* (window rows, 2, width) running sums left of the window, with their remainders */
  size_t taps;   /* (kernel_rows*kernel_cols, width) exp(bias - shift); AFTLocal: (kernel_cols) for one position */
  size_t failed; /* (T, channels) bytes: lanes for the exact path */
  size_t masses; /* exact path: before (T), after (T), up, down, row (rows+1 each) of one channel */
  size_t total;
} layout;

typedef struct {
  aft_window w;
  const aft_channels *which;
  layout at;
  size_t t, d;
  int right, below; /* whether sources to the right of the window, or below it, are seen at all */
} window_job;

/* A sum of exp(K) V and exp(K), both over exp(2 * half). */
typedef struct {
  double half, num, den;
} mass;

typedef struct {
  const window_job *job;
  aft_block block;
  aft_channel ch[WINDOW_LANES];
  size_t width;
  double outside[2 * WINDOW_LANES]; /* exp(0 - shift), the weight of what is outside the window */
  double *terms, *right, *above, *below, *gone, *taps;
  unsigned char *failed;
  mass *before, *after, *up, *down, *row;
} frame;

/* The window of a position, cut to the grid: rows y0..y1-1, columns x0..x1-1. */
typedef struct {
  size_t y, x, y0, y1, x0, x1;
} view;

static view view_of(const aft_window *w, size_t t) {
  view v = {.y = t / w->cols, .x = t % w->cols};
  v.y0 = v.y > w->top ? v.y - w->top : 0;
  v.y1 = aft_min(w->rows, v.y + (w->kernel_rows - w->top));
  v.x0 = v.x > w->left ? v.x - w->left : 0;
  v.x1 = aft_min(w->cols, v.x + (w->kernel_cols - w->left));
  return v;
}

/* Whether row yy of the window ends at the position itself. */
static int is_last(const aft_window *w, const view *v, size_t yy) { return w->call->attrs.causal && yy == v->y; }

/* The element of W that holds the bias of source (yy,xx) for the position of v. */
static size_t bias_at(const aft_window *w, const view *v, size_t head, size_t yy, size_t xx) {
  size_t a = yy + w->top - v->y, b = xx + w->left - v->x;
  return w->w_first + (v->y * w->cols + v->x) * w->w_position + head * w->w_head + a * w->w_tap_row + b;
}

/* ---- fast path ----------------------------------------------------------------------------------------------------- */

/* The largest finite value of w and top. */
static double largest(const double *w, size_t n, double top) {
  for (size_t i = 0; i < n; i++) {
    if (w[i] > top && w[i] < INFINITY) top = w[i];
  }
  return top;
}

/* The taps of channel j: exp(bias - shift), shift the largest finite bias, the 0 outside included. Causal taps after the
 * position are never used and must not set the scale. */
static void load_kernel(frame *f, size_t j, double *row) {
  const aft_window *w = &f->job->w;
  size_t head = (f->block.first + j) / f->block.group, n = f->block.n;
  double shift = 0;
  for (size_t a = 0; a < w->kernel_rows; a++) {
    size_t used = w->call->attrs.causal && a == w->top ? w->left + 1 : w->kernel_cols;
    aft_load(row, &w->call->in[3], w->w_first + head * w->w_head + a * w->w_tap_row, used);
    shift = largest(row, used, shift);
    for (size_t b = 0; b < used; b++) f->taps[(a * w->kernel_cols + b) * f->width + j] = row[b];
    for (size_t b = used; b < w->kernel_cols; b++) f->taps[(a * w->kernel_cols + b) * f->width + j] = -INFINITY;
  }
  for (size_t i = 0; i < w->kernel_rows * w->kernel_cols; i++) {
    double *tap = f->taps + i * f->width + j;
    tap[0] = tap[n] = exp(tap[0] - shift);
  }
  f->outside[j] = f->outside[n + j] = exp(-shift);
}

/* The taps of all channels of a convolution; channels of one head share theirs. */
static void load_kernels(frame *f, double *row) {
  const aft_window *w = &f->job->w;
  size_t n = f->block.n;
  for (size_t j = 0; j < n; j++) {
    if (j == 0 || (f->block.first + j) % f->block.group == 0) {
      load_kernel(f, j, row);
      continue;
    }
    for (size_t i = 0; i < w->kernel_rows * w->kernel_cols; i++) {
      double *tap = f->taps + i * f->width + j;
      tap[0] = tap[n] = tap[-1];
    }
    f->outside[j] = f->outside[n + j] = f->outside[j - 1];
  }
}

/* AFTLocal: the taps of one position, from column x0 on. The 0 outside sets the scale only where something is outside. */
static void load_band(frame *f, const view *v) {
  const aft_window *w = &f->job->w;
  size_t n = v->x1 - v->x0, seen = w->call->attrs.causal ? v->x + 1 : w->cols;
  aft_load(f->taps, &w->call->in[3], bias_at(w, v, 0, v->y, v->x0), n);
  double shift = largest(f->taps, n, n < seen ? 0 : -INFINITY);
  if (shift == -INFINITY) shift = 0;
  for (size_t i = 0; i < n; i++) f->taps[i] = exp(f->taps[i] - shift);
  for (size_t j = 0; j < f->width; j++) f->outside[j] = exp(-shift);
}

static void add_row(double *acc, const double *row, size_t n) {
  for (size_t j = 0; j < n; j++) acc[j] += row[j];
}

/* [num | den] of the position of v. */
static void sum_position(frame *f, const view *v, double *acc) {
  const aft_window *w = &f->job->w;
  size_t width = f->width;
  memcpy(acc, f->above + v->y0 * width, width * sizeof *acc);
  if (f->job->below) add_row(acc, f->below + v->y1 * width, width);
  for (size_t yy = v->y0; yy < v->y1; yy++) {
    const double *gone = f->gone + (yy - v->y0) * 2 * width;
    add_row(acc, gone, width);
    add_row(acc, gone + width, width);
    if (v->x1 < w->cols && !is_last(w, v, yy)) add_row(acc, f->right + (yy * w->cols + v->x1) * width, width);
  }
  for (size_t j = 0; j < width; j++) acc[j] *= f->outside[j];
  for (size_t yy = v->y0; yy < v->y1; yy++) {
    size_t n = (is_last(w, v, yy) ? v->x + 1 : v->x1) - v->x0;
    const double *terms = f->terms + (yy * w->cols + v->x0) * width;
    if (w->w_position != 0) {
      aft_weigh(acc, f->taps, terms, n, width);
    } else {
      size_t tap = (yy + w->top - v->y) * w->kernel_cols + (v->x0 + w->left - v->x);
      aft_weigh_each(acc, f->taps + tap * width, terms, n, width);
    }
  }
}

/* The terms of every source, and the sums outside a window that do not depend on its position. */
static void sum_outside(frame *f) {
  const window_job *job = f->job;
  size_t width = f->width, cols = job->w.cols, rows = job->w.rows;
  double hi[2 * WINDOW_LANES], lo[2 * WINDOW_LANES];
  for (size_t t = 0; t < job->t; t++) aft_block_terms(&f->block, f->ch, t, f->terms + t * width);

  memset(hi, 0, sizeof hi);
  memset(lo, 0, sizeof lo);
  for (size_t y = 0; y <= rows; y++) {
    for (size_t j = 0; j < width; j++) f->above[y * width + j] = hi[j] + lo[j];
    if (y == rows) break;
    for (size_t x = 0; x < cols; x++) aft_sums_add(hi, lo, f->terms + (y * cols + x) * width, width);
  }
  if (job->below) {
    memset(hi, 0, sizeof hi);
    memset(lo, 0, sizeof lo);
    for (size_t j = 0; j < width; j++) f->below[rows * width + j] = 0;
    for (size_t y = rows; y-- > 0;) {
      for (size_t x = cols; x-- > 0;) aft_sums_add(hi, lo, f->terms + (y * cols + x) * width, width);
      for (size_t j = 0; j < width; j++) f->below[y * width + j] = hi[j] + lo[j];
    }
  }
  if (!job->right) return;
  for (size_t y = 0; y < rows; y++) {
    memset(hi, 0, sizeof hi);
    memset(lo, 0, sizeof lo);
    for (size_t x = cols; x-- > 0;) {
      size_t t = y * cols + x;
      aft_sums_add(hi, lo, f->terms + t * width, width);
      for (size_t j = 0; j < width; j++) f->right[t * width + j] = hi[j] + lo[j];
    }
  }
}

/* The column that the window has just left joins the running sums of its rows. */
static void leave_column(frame *f, const view *v) {
  const aft_window *w = &f->job->w;
  size_t width = f->width;
  if (v->x == 0) memset(f->gone, 0, (v->y1 - v->y0) * 2 * width * sizeof *f->gone);
  if (v->x <= w->left) return;
  for (size_t yy = v->y0; yy < v->y1; yy++) {
    double *gone = f->gone + (yy - v->y0) * 2 * width;
    aft_sums_add(gone, gone + width, f->terms + (yy * w->cols + v->x0 - 1) * width, width);
  }
}

/* All positions by the fast path; returns whether lanes are left for the exact one. */
static int run_fast(frame *f) {
  const window_job *job = f->job;
  size_t n = f->block.n;
  double acc[2 * WINDOW_LANES], ratio[WINDOW_LANES];
  int failures = 0;
  for (size_t t = 0; t < job->t; t++) {
    view v = view_of(&job->w, t);
    leave_column(f, &v);
    if (job->w.w_position != 0) load_band(f, &v);
    sum_position(f, &v, acc);
    for (size_t j = 0; j < n; j++) {
      int ok = aft_trusted(acc[j], acc[n + j]);
      ratio[j] = ok ? aft_settle(acc[j] / acc[n + j], &f->ch[j]) : 0;
      f->failed[t * n + j] = !ok;
      failures |= !ok;
    }
    aft_finish(job->w.call, job->w.out, (f->block.batch * job->t + t) * job->d + f->block.first, ratio, n);
  }
  return failures;
}

/* ---- exact path ---------------------------------------------------------------------------------------------------- */

static mass mass_of(const aft_lse *s) { return (mass){s->scale.hi, aft_sum_value(s->num), aft_sum_value(s->den)}; }

static void add_mass(aft_lse *s, const mass *m) { aft_lse_add(s, (aft_logit){m->half, 0}, m->num, m->den); }

static void add_source(const frame *f, aft_lse *s, size_t source, size_t j) {
  double k, v;
  aft_block_at(&f->block, f->ch, source, j, &k, &v);
  aft_lse_add(s, aft_logit_of(k, 0), v, 1);
}

/* The masses of channel j: O(T) exponentials for all positions together. */
static void weigh_outside(frame *f, size_t j) {
  size_t rows = f->job->w.rows, cols = f->job->w.cols;
  aft_lse sum;
  for (size_t y = 0; y < rows; y++) {
    sum = aft_lse_empty();
    for (size_t t = y * cols; t < (y + 1) * cols; t++) {
      f->before[t] = mass_of(&sum);
      add_source(f, &sum, t, j);
    }
    f->row[y] = mass_of(&sum);
    sum = aft_lse_empty();
    for (size_t t = (y + 1) * cols; t-- > y * cols;) {
      add_source(f, &sum, t, j);
      f->after[t] = mass_of(&sum);
    }
  }
  sum = aft_lse_empty();
  for (size_t y = 0; y < rows; y++) {
    f->up[y] = mass_of(&sum);
    add_mass(&sum, &f->row[y]);
  }
  sum = aft_lse_empty();
  for (size_t y = rows + 1; y-- > 0;) {
    if (y < rows) add_mass(&sum, &f->row[y]);
    f->down[y] = mass_of(&sum);
  }
}

/* One (t,d) from the logits themselves: O(kernel_rows * kernel_cols) exponentials. */
static double exact(const frame *f, size_t t, size_t j) {
  const aft_window *w = &f->job->w;
  view v = view_of(w, t);
  size_t head = (f->block.first + j) / f->block.group;
  aft_lse sum = aft_lse_empty();
  add_mass(&sum, &f->up[v.y0]);
  if (f->job->below) add_mass(&sum, &f->down[v.y1]);
  for (size_t yy = v.y0; yy < v.y1; yy++) {
    int last = is_last(w, &v, yy);
    size_t row = yy * w->cols, end = last ? v.x + 1 : v.x1;
    add_mass(&sum, &f->before[row + v.x0]);
    if (v.x1 < w->cols && !last) add_mass(&sum, &f->after[row + v.x1]);
    for (size_t xx = v.x0; xx < end; xx++) {
      double key, value, bias;
      aft_block_at(&f->block, f->ch, row + xx, j, &key, &value);
      aft_load(&bias, &w->call->in[3], bias_at(w, &v, head, yy, xx), 1);
      aft_lse_add(&sum, aft_logit_of(key, bias), value, 1);
    }
  }
  return aft_lse_ratio(&sum);
}

static void run_exact(frame *f) {
  const window_job *job = f->job;
  size_t n = f->block.n;
  for (size_t j = 0; j < n; j++) {
    int ready = 0;
    for (size_t t = 0; t < job->t; t++) {
      if (!f->failed[t * n + j]) continue;
      if (!ready) weigh_outside(f, j);
      ready = 1;
      double ratio = aft_settle(exact(f, t, j), &f->ch[j]);
      aft_finish(job->w.call, job->w.out, (f->block.batch * job->t + t) * job->d + f->block.first + j, &ratio, 1);
    }
  }
}

/* ---- tasks --------------------------------------------------------------------------------------------------------- */

static void run_task(void *arg, size_t i, double *scratch) {
  const window_job *job = arg;
  const layout *at = &job->at;
  frame f = {.job = job};
  f.block = aft_block_at_index(job->w.call, job->which, WINDOW_LANES, i);
  f.width = 2 * f.block.n;
  f.terms = scratch + at->terms;
  f.right = scratch + at->right;
  f.above = scratch + at->above;
  f.below = scratch + at->below;
  f.gone = scratch + at->gone;
  f.taps = scratch + at->taps;
  f.failed = (unsigned char *)(scratch + at->failed);
  f.before = (mass *)(scratch + at->masses);
  f.after = f.before + job->t;
  f.up = f.after + job->t;
  f.down = f.up + job->w.rows + 1;
  f.row = f.down + job->w.rows + 1;

  aft_block_scan(&f.block, job->t, f.ch);
  if (job->w.w_position == 0) load_kernels(&f, scratch + at->masses); /* not in use yet, and longer than a row of taps */
  sum_outside(&f);
  if (run_fast(&f)) run_exact(&f);
}

/* Cuts one axis of the kernel to the taps that some position of a grid of n can use. */
static void cut(size_t n, size_t *taps, size_t *pad, size_t *w_first, size_t w_step) {
  size_t skip = *pad >= n ? *pad - (n - 1) : 0;
  *taps = aft_min(*taps, *pad + n) - skip;
  *pad -= skip;
  *w_first += skip * w_step;
}

static size_t take(size_t *at, size_t *end, size_t a, size_t b) {
  *at = *end;
  *end = aft_add(*end, aft_mul(a, b));
  return *at;
}

static layout lay_out(const window_job *job) {
  const aft_window *w = &job->w;
  size_t n = aft_min(WINDOW_LANES, job->d), width = 2 * n, taps = aft_mul(w->kernel_rows, w->kernel_cols);
  layout at;
  size_t end = 0;
  take(&at.terms, &end, job->t, width);
  take(&at.right, &end, job->right ? job->t : 0, width);
  take(&at.above, &end, w->rows + 1, width);
  take(&at.below, &end, job->below ? w->rows + 1 : 0, width);
  take(&at.gone, &end, aft_min(w->kernel_rows, w->rows), 2 * width);
  take(&at.taps, &end, taps, w->w_position != 0 ? 1 : width);
  take(&at.failed, &end, aft_div_up(aft_mul(job->t, n), sizeof(double)), 1);
  take(&at.masses, &end, aft_add(aft_mul(2, job->t), 3 * (w->rows + 1)), sizeof(mass) / sizeof(double));
  at.total = end;
  return at;
}

void aft_window_cut(aft_window *window) {
  int causal = window->call->attrs.causal == 1;
  cut(window->rows, &window->kernel_rows, &window->top, &window->w_first, window->w_tap_row);
  cut(window->cols, &window->kernel_cols, &window->left, &window->w_first, 1);
  if (causal) window->kernel_rows = window->top + 1;
  if (causal && window->kernel_rows == 1) window->kernel_cols = window->left + 1;
}

int aft_window_run(aft_window window, const aft_host *host, const aft_channels *which) {
  const aft_tensor *q = &window.call->in[0];
  int causal = window.call->attrs.causal == 1;
  aft_window_cut(&window);
  window_job job = {.w = window, .which = which, .t = (size_t)q->dims[1], .d = (size_t)q->dims[2]};
  job.below = !causal;
  job.right = !causal || window.top > 0;
  job.at = lay_out(&job);
  return aft_tasks(host, run_task, &job, aft_block_count(window.call, which, WINDOW_LANES), job.at.total);
}

void aft_window_exact(const aft_window *w, size_t batch, size_t t, size_t d) {
  aft_block block = aft_block_of(w->call, batch, d, 1);
  aft_channel ch;
  aft_lse sum = aft_lse_empty();
  view v = view_of(w, t);
  size_t end = w->call->attrs.causal ? t + 1 : w->cols;
  aft_block_scan(&block, end, &ch);
  for (size_t s = 0; s < end; s++) {
    double key, value, bias = 0;
    aft_block_at(&block, &ch, s, 0, &key, &value);
    if (s >= v.x0 && s < v.x1) aft_load(&bias, &w->call->in[3], bias_at(w, &v, d / block.group, 0, s), 1);
    aft_lse_add(&sum, aft_logit_of(key, bias), value, 1);
  }
  double ratio = aft_settle(aft_lse_ratio(&sum), &ch);
  aft_finish(w->call, w->out, (batch * block.sources + t) * block.dim + d, &ratio, 1);
}
