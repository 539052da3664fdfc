/* What aft_conv2d_simd.h computes with: the job and its pieces, the weights of the biases, and the terms of the sources with
 * their sums. */
#ifndef AFT_CONV2D_TERMS_SIMD_H
#define AFT_CONV2D_TERMS_SIMD_H

#include "aft_exact_simd.h"
#include "aft_tile_simd.h"
#include "aft_window.h"

enum {
  GRID_GROUPS = 64 / LANES, /* vectors of channels in a task */
  GRID_BATCH = 4,           /* batch entries in a task, for which the weights are made once */
  GRID_RUN = 2 * TILE_RUN,  /* terms that are summed in registers */
  GRID_TILE = ROWS < 6 ? ROWS : 6, /* neighbours that share what they load: more see more columns outside their windows */
  GRID_AHEAD = 8            /* sources between what is read and what is fetched */
};

typedef struct {
  const aft_fast *f;
  aft_window w;
  size_t t, d, batches, groups, strips, heads;
  size_t tiles;   /* of a grid row */
  size_t offsets; /* columns of a window's row with those of its neighbours in a tile */
  int causal;
  float tiny;
} grid_simd;

/* One vector of channels. */
typedef struct {
  vec key, num_lost, den_lost, top, down, up, rest, shift;
  vec before;    /* the key that `above` had before the last raise */
  int odd;       /* a bias is NaN or +Inf */
  float *weights; /* (kernel rows, offsets, LANES) */
  float *biases;  /* (kernel rows, kernel columns, LANES) half of W */
  float *keys;    /* (t, LANES) half of K, for the exact path */
  float *terms;   /* (t, TERM) */
  float *begin;   /* (rows, tiles, TERM) sums of a row before the columns of a tile */
  float *end;     /* (rows, tiles, TERM) and after them */
  float *row;     /* (rows, TERM) */
  float *above;   /* (rows+1, TERM) sums of all rows before, the last one of all */
  float *below;   /* (rows+1, TERM) sums of all rows from here on; not when causal */
  float *saved;   /* (TERM) above the window, before the raise */
} grid_lane;

typedef struct {
  const grid_simd *job;
  size_t batch, first, n; /* vectors first..first+n-1 */
  grid_lane lane[GRID_GROUPS];
} grid_strip;

static size_t grid_lanes(const grid_simd *job, size_t g) { return aft_min(LANES, job->d - g * LANES); }

static size_t grid_head(const grid_simd *job, size_t d) { return d / (job->d / job->heads); }

/* The first column of tile i, and of the columns that its windows reach; as even as they can be. */
static size_t grid_tile(const grid_simd *job, size_t i) { return job->w.cols * i / job->tiles; }

static size_t grid_from(const grid_simd *job, size_t i) {
  size_t x = grid_tile(job, i);
  return x > job->w.left ? x - job->w.left : 0;
}

static size_t grid_to(const grid_simd *job, size_t i) {
  return aft_min(job->w.cols, grid_tile(job, i + 1) - 1 + (job->w.kernel_cols - job->w.left));
}

/* K of source s: of every channel's own head. */
VEC vec grid_key(const grid_simd *job, size_t batch, size_t s, size_t g) {
  const aft_tensor *k = &job->f->call->in[1];
  size_t row = (batch * job->t + s) * job->heads, n = grid_lanes(job, g);
  if (job->heads == job->d) return vec_read(k, row + g * LANES, n);
  vec x = {0};
  for (size_t l = 0; l < n; l++) {
    size_t d = g * LANES + l;
    x[l] = l > 0 && d % (job->d / job->heads) != 0 ? x[l - 1] : vec_read_one(k, row + grid_head(job, d))[0];
  }
  return x;
}

VEC vec grid_value(const grid_simd *job, size_t batch, size_t s, size_t g) {
  return vec_read(&job->f->call->in[2], (batch * job->t + s) * job->d + g * LANES, grid_lanes(job, g));
}

/* ---- weights ------------------------------------------------------------------------------------------------------- */

/* The biases of vector g as they are, LANES for every tap. A channel's taps lie side by side: they are read channel by
 * channel. */
static void grid_biases(const grid_simd *job, size_t g, float *to) {
  const aft_window *w = &job->w;
  size_t lanes = grid_lanes(job, g), taps = w->kernel_rows * w->kernel_cols;
  if (lanes < LANES) memset(to, 0, taps * LANES * sizeof(float));
  for (size_t l = 0; l < lanes; l++) {
    size_t first = w->w_first + grid_head(job, g * LANES + l) * w->w_head;
    for (size_t a = 0; a < w->kernel_rows; a++) {
      float *row = to + a * w->kernel_cols * LANES + l;
      for (size_t b = 0; b < w->kernel_cols; b++) {
        row[b * LANES] = vec_read_one(&job->f->call->in[3], first + a * w->w_tap_row + b)[0];
      }
    }
  }
}

/* How many taps of row a may be used: when causal none after the position. */
static size_t grid_taps(const grid_simd *job, size_t a) {
  return job->causal && a == job->w.top ? job->w.left + 1 : job->w.kernel_cols;
}

/* exp(bias - shift) of `count` taps from biases that are halved; 0 in the lanes of odd heads. */
VEC void grid_weights(const grid_lane *lane, const float *halves, vec_bits odd, float *to, const int count) {
  vec x[BATCH];
  EACH(j, count) x[j] = vec_madd(vec_of(2), vec_aligned(halves + j * LANES), -lane->shift);
  vec_exps(x, count);
  EACH(j, count) vec_store_aligned(to + j * LANES, (vec)((vec_bits)x[j] & ~odd));
}

/* Offset i of a row stands for the source i - (GRID_TILE-1) - left columns from the position. */
static void grid_pack(const grid_simd *job, size_t g, grid_lane *lane) {
  const aft_window *w = &job->w;
  vec_bits odd = {0};
  lane->shift = vec_of(0); /* the 0 outside counts */
  grid_biases(job, g, lane->biases);
  for (size_t a = 0; a < w->kernel_rows; a++) {
    for (size_t b = 0; b < grid_taps(job, a); b++) {
      float *bias = lane->biases + (a * w->kernel_cols + b) * LANES;
      vec x = vec_aligned(bias);
      odd |= ~(x <= vec_of(FLT_MAX));
      lane->shift = vec_max(x, lane->shift);
      vec_store_aligned(bias, vec_of(0.5f) * x);
    }
  }
  lane->odd = vec_any(odd);
  lane->shift = vec_pick(odd, vec_of(0), lane->shift);
  lane->rest = (vec)((vec_bits)vec_exp(-lane->shift) & ~odd);
  for (size_t a = 0; a < w->kernel_rows; a++) {
    const float *halves = lane->biases + a * w->kernel_cols * LANES;
    float *row = lane->weights + a * job->offsets * LANES, *first = row + (GRID_TILE - 1) * LANES;
    size_t taps = grid_taps(job, a), b = 0;
    vec after = taps == w->kernel_cols && !(job->causal && a == w->top) ? lane->rest : vec_of(0);
    for (size_t i = 0; i + 1 < GRID_TILE; i++) vec_store_aligned(row + i * LANES, lane->rest);
    for (; b + BATCH <= taps; b += BATCH) grid_weights(lane, halves + b * LANES, odd, first + b * LANES, BATCH);
    for (; b < taps; b++) grid_weights(lane, halves + b * LANES, odd, first + b * LANES, 1);
    for (size_t i = GRID_TILE - 1 + taps; i < job->offsets; i++) vec_store_aligned(row + i * LANES, after);
  }
}

/* ---- terms and their sums ------------------------------------------------------------------------------------------ */

VEC void grid_add(vec sum[2], vec lost[2], const float *term) {
  vec_add(&sum[0], &lost[0], vec_aligned(term));
  vec_add(&sum[1], &lost[1], vec_aligned(term + LANES));
}

VEC void grid_store(float *to, const vec sum[2]) {
  vec_store_aligned(to, sum[0]);
  vec_store_aligned(to + LANES, sum[1]);
}

VEC void grid_scale(float *p, size_t n, vec scale) {
  for (size_t i = 0; i < n; i += LANES) vec_store_aligned(p + i, vec_aligned(p + i) * scale);
}

/* Asks for the channels of the strip in V and, where `keys` says so, in K, some sources after t. */
VEC void grid_fetch(const grid_strip *p, size_t t, int keys, int values) {
  const grid_simd *job = p->job;
  size_t at = (p->batch * job->t + t + GRID_AHEAD) * job->d + p->first * LANES;
  if (keys && job->heads == job->d) vec_fetch_row(&job->f->call->in[1], at, p->n * LANES);
  if (values) vec_fetch_row(&job->f->call->in[2], at, p->n * LANES);
}

/* The terms of source t for `count` vectors of the strip from l on. */
VEC void grid_terms(grid_strip *p, size_t t, size_t l, const int count) {
  const grid_simd *job = p->job;
  grid_lane *lane = p->lane + l;
  vec a[BATCH], v[BATCH];
  EACH(j, count) a[j] = grid_key(job, p->batch, t, p->first + l + (size_t)j);
  EACH(j, count) v[j] = grid_value(job, p->batch, t, p->first + l + (size_t)j);
  EACH(j, count) v[j] = (vec)((vec_bits)v[j] & ~(a[j] == vec_of(-INFINITY))) * lane[j].down;
  EACH(j, count) vec_store_aligned(lane[j].keys + t * LANES, vec_of(0.5f) * a[j]);
  EACH(j, count) lane[j].top = vec_max(vec_magnitude(v[j]), lane[j].top);
  EACH(j, count) a[j] -= lane[j].key;
  vec_exps(a, count);
  EACH(j, count) vec_store_aligned(lane[j].terms + t * TERM, a[j] * v[j]);
  EACH(j, count) vec_store_aligned(lane[j].terms + t * TERM + LANES, a[j]);
}

/* The terms of grid row y. */
static void grid_row_terms(grid_strip *p, size_t y) {
  for (size_t t = y * p->job->w.cols; t < (y + 1) * p->job->w.cols; t++) {
    size_t l = 0;
    grid_fetch(p, t, 0, 1);
    for (; l + BATCH <= p->n; l += BATCH) grid_terms(p, t, l, BATCH);
    for (; l < p->n; l++) grid_terms(p, t, l, 1);
  }
}

/* Sums of row y: its beginnings and ends beside every tile, all of it, and all rows up to it. */
static void grid_row_sums(const grid_simd *job, grid_lane *lane, size_t y) {
  const float *terms = lane->terms + y * job->w.cols * TERM;
  vec sum[2] = {vec_of(0), vec_of(0)}, lost[2] = {vec_of(0), vec_of(0)};
  size_t x = 0;
  for (size_t i = 0; i < job->tiles; i++) {
    for (; x < grid_from(job, i); x++) grid_add(sum, lost, terms + x * TERM);
    grid_store(lane->begin + (y * job->tiles + i) * TERM, sum);
  }
  for (; x < job->w.cols; x++) grid_add(sum, lost, terms + x * TERM);
  grid_store(lane->row + y * TERM, sum);
  sum[0] = sum[1] = lost[0] = lost[1] = vec_of(0);
  for (size_t i = job->tiles; i-- > 0;) {
    for (; x > grid_to(job, i); x--) grid_add(sum, lost, terms + (x - 1) * TERM);
    grid_store(lane->end + (y * job->tiles + i) * TERM, sum);
  }
  vec above[2] = {vec_aligned(lane->above + y * TERM), vec_aligned(lane->above + y * TERM + LANES)};
  vec above_lost[2] = {lane->num_lost, lane->den_lost};
  grid_add(above, above_lost, lane->row + y * TERM);
  lane->num_lost = above_lost[0];
  lane->den_lost = above_lost[1];
  grid_store(lane->above + (y + 1) * TERM, above);
}

static void grid_below(const grid_simd *job, grid_lane *lane) {
  vec sum[2] = {vec_of(0), vec_of(0)}, lost[2] = {vec_of(0), vec_of(0)};
  grid_store(lane->below + job->w.rows * TERM, sum);
  for (size_t y = job->w.rows; y-- > 0;) {
    grid_add(sum, lost, lane->row + y * TERM);
    grid_store(lane->below + y * TERM, sum);
  }
}

/* largest[l] = the largest key of sources from..to-1. */
static void grid_largest(const grid_strip *p, size_t from, size_t to, vec *largest) {
  for (size_t l = 0; l < p->n; l++) largest[l] = vec_of(-INFINITY);
  for (size_t t = from; t < to; t++) {
    grid_fetch(p, t, 1, 0);
    for (size_t l = 0; l < p->n; l++) largest[l] = vec_max(grid_key(p->job, p->batch, t, p->first + l), largest[l]);
  }
}

/* Causal: takes all sums to the largest key of row y, where that lies far above. */
static void grid_raise(grid_strip *p, size_t i, size_t y, vec largest) {
  const grid_simd *job = p->job;
  grid_lane *lane = &p->lane[i];
  size_t y0 = y > job->w.top ? y - job->w.top : 0;
  vec_bits raise = largest > lane->key + vec_of(AFT_RAISE);
  lane->before = lane->key;
  memcpy(lane->saved, lane->above + y0 * TERM, TERM * sizeof(float));
  if (!vec_any(raise)) return;
  vec key = vec_pick(raise, largest, lane->key), scale = vec_exp(lane->key - key);
  grid_scale(lane->terms + y0 * job->w.cols * TERM, (y - y0) * job->w.cols * TERM, scale);
  grid_scale(lane->begin + y0 * job->tiles * TERM, (y - y0) * job->tiles * TERM, scale);
  grid_scale(lane->end + y0 * job->tiles * TERM, (y - y0) * job->tiles * TERM, scale);
  grid_scale(lane->above + y0 * TERM, (y - y0 + 1) * TERM, scale);
  lane->num_lost *= scale;
  lane->den_lost *= scale;
  lane->key = key;
}

#endif
