/* What aft_full_simd.h computes with: the job, exp(W), and the terms of the sources. */
#ifndef AFT_FULL_TERMS_SIMD_H
#define AFT_FULL_TERMS_SIMD_H

#include "aft_exact_simd.h"
#include "aft_tile_simd.h"

enum {
  FULL_BLOCK = 132,    /* a multiple of every ROWS: the causal end of a tile lies in one block */
  FULL_SHORT = 264,    /* not causal, so many sources are one block, if there are no more */
  FULL_ROWS = 96,      /* so is this */
  FULL_CHANNELS = 256, /* exp(W) of a task's rows is read once for so many */
  FULL_STRIP = 256,    /* channels of a task that makes terms */
  FULL_SMALL = 128,    /* channels of a task that does all of a short sequence */
  FULL_AHEAD = 8,      /* sources between what is read and what is fetched */
  FULL_RUN = 16        /* blocks that are summed before the sum is added to a total: see TILE_RUN */
};

/* Rows of W: most are plain; in an odd one is NaN or +Inf; an empty one is all -Inf. */
enum { ROW_PLAIN, ROW_EMPTY, ROW_ODD };

/* exp(W - shift): tile after tile of ROWS rows, every tile by source, `stride` floats apart; zero rows for what is not
 * plain. When causal, zero after the position, and tile j ends after source (j+1)*ROWS - 1. */
typedef struct {
  aft_packed head;
  size_t rows, sources;
  float *shift; /* (rows) */
  unsigned char *kind;
  float *weights;
} full_packed;

typedef struct {
  const aft_fast *f;
  size_t batches, t, s, d, groups;
  size_t block, blocks; /* of sources: how long, and how many */
  int causal;
  float tiny;           /* den that is too small to trust */
  size_t column;        /* which (batch, group) the terms begin with */
  float *terms;         /* (batches, groups, s, TERM) */
  float *keys;          /* (batches, groups, blocks, LANES) */
  float *up;            /* (batches, groups, LANES) */
  const float *shift;   /* (t) */
  const unsigned char *kind;
  const float *weights; /* packed, or NULL */
  size_t packed_sources;
  size_t row_blocks, strips;
} full_simd;

/* ---- exp(W) -------------------------------------------------------------------------------------------------------- */

static void full_scan_row(const aft_tensor *w, size_t t, size_t n, float *shift, unsigned char *kind) {
  size_t at = t * (size_t)w->dims[1];
  vec top = vec_of(-INFINITY);
  vec_bits odd = {0};
  for (size_t s = 0; s < n; s += LANES) {
    vec x = vec_read(w, at + s, aft_min(LANES, n - s));
    for (size_t j = n - s; j < LANES; j++) x[j] = -INFINITY;
    odd |= ~(x <= vec_of(FLT_MAX));
    top = vec_max(x, top);
  }
  float largest = -INFINITY;
  for (size_t j = 0; j < LANES; j++) largest = top[j] > largest ? top[j] : largest;
  *kind = vec_any(odd) ? ROW_ODD : largest == -INFINITY ? ROW_EMPTY : ROW_PLAIN;
  *shift = *kind == ROW_PLAIN ? largest : 0;
}

/* Where tile j begins in packed weights of so many sources. */
static size_t full_tile_at(size_t j, size_t sources, int causal) {
  return causal ? j * (j + 1) / 2 * ROWS * ROWS : j * sources * ROWS;
}

/* Sources s0..s0+n-1 of tile j. */
static void full_pack_tile(const aft_tensor *w, size_t rows, size_t j, size_t s0, size_t n, int causal, const float *shift,
                           const unsigned char *kind, float *to) {
  for (size_t r = 0; r < ROWS; r++) {
    size_t t = j * ROWS + r, at = t * (size_t)w->dims[1], some = 0;
    if (t < rows && kind[t] == ROW_PLAIN) some = !causal ? n : t < s0 ? 0 : aft_min(n, t + 1 - s0);
    for (size_t i = 0; i < some; i += LANES) {
      size_t m = aft_min(LANES, some - i);
      vec e = vec_exp(vec_read(w, at + s0 + i, m) - vec_of(shift[t]));
      for (size_t l = 0; l < m; l++) to[(i + l) * ROWS + r] = e[l];
    }
    for (size_t i = some; i < n; i++) to[i * ROWS + r] = 0;
  }
}

static int simd_full_pack(const aft_attrs *attrs, const aft_tensor *w, aft_packed **out) {
  int causal = attrs->causal == 1;
  size_t rows = (size_t)w->dims[0], sources = (size_t)w->dims[1], at = 0;
  if (causal) rows = sources = aft_min(rows, sources);
  size_t tiles = aft_div_up(rows, ROWS), weights = causal ? full_tile_at(tiles, sources, 1) : aft_mul(tiles, sources * ROWS);
  size_t shift = aft_room(&at, rows), kind = aft_room(&at, rows), first = aft_room(&at, weights);
  float *floats;
  full_packed *packed = aft_pack_memory(sizeof *packed, at, &floats);
  if (packed == NULL) return AFT_NO_MEMORY;
  *packed = (full_packed){.rows = rows, .sources = sources, .shift = floats + shift, .weights = floats + first};
  packed->kind = (unsigned char *)(floats + kind);
  for (size_t t = 0; t < rows; t++) {
    full_scan_row(w, t, causal ? t + 1 : sources, &packed->shift[t], &packed->kind[t]);
  }
  for (size_t j = 0; j < tiles; j++) {
    full_pack_tile(w, rows, j, 0, causal ? (j + 1) * ROWS : sources, causal, packed->shift, packed->kind,
                   packed->weights + full_tile_at(j, sources, causal));
  }
  *out = &packed->head;
  return AFT_OK;
}

/* ---- terms --------------------------------------------------------------------------------------------------------- */

typedef struct {
  const full_simd *job;
  size_t batch, first, n; /* vectors first..first+n-1 */
  vec key[FULL_STRIP / LANES], num[FULL_STRIP / LANES], den[FULL_STRIP / LANES], top[FULL_STRIP / LANES];
  vec down[FULL_STRIP / LANES], up[FULL_STRIP / LANES];
} full_strip;

static size_t full_lanes(const full_simd *job, size_t g) { return aft_min(LANES, job->d - g * LANES); }

/* The terms of one source for `count` vectors from g on. */
VEC void full_terms(full_strip *p, size_t s, size_t g, const int count) {
  const full_simd *job = p->job;
  size_t row = (p->batch * job->s + s) * job->d + (p->first + g) * LANES;
  float *term = job->terms + ((p->batch * job->groups + p->first + g - job->column) * job->s + s) * TERM;
  vec a[BATCH], v[BATCH];
  EACH(j, count) a[j] = vec_read(&job->f->call->in[1], row + (size_t)j * LANES, full_lanes(job, p->first + g + (size_t)j));
  EACH(j, count) v[j] = vec_read(&job->f->call->in[2], row + (size_t)j * LANES, full_lanes(job, p->first + g + (size_t)j));
  EACH(j, count) v[j] = (vec)((vec_bits)v[j] & ~(a[j] == vec_of(-INFINITY))) * p->down[g + (size_t)j];
  EACH(j, count) a[j] -= p->key[g + (size_t)j];
  EACH(j, count) p->top[g + (size_t)j] = vec_max(vec_magnitude(v[j]), p->top[g + (size_t)j]);
  vec_exps(a, count);
  EACH(j, count) v[j] *= a[j];
  EACH(j, count) p->num[g + (size_t)j] += v[j];
  EACH(j, count) p->den[g + (size_t)j] += a[j];
  EACH(j, count) vec_store_aligned(term + (size_t)j * job->s * TERM, v[j]);
  EACH(j, count) vec_store_aligned(term + (size_t)j * job->s * TERM + LANES, a[j]);
}

/* Asks for the strip's channels of K or V of a source further on. */
VEC void full_fetch_source(const full_strip *p, const aft_tensor *x, size_t s) {
  vec_fetch_row(x, (p->batch * p->job->s + s + FULL_AHEAD) * p->job->d + p->first * LANES, p->n * LANES);
}

/* The keys of a block, then its terms. */
static void full_block_terms(full_strip *p, size_t block) {
  const full_simd *job = p->job;
  const aft_tensor *k = &job->f->call->in[1];
  size_t s0 = block * job->block, end = aft_min(s0 + job->block, job->s);
  vec largest[FULL_STRIP / LANES];
  for (size_t g = 0; g < p->n; g++) largest[g] = vec_of(-INFINITY);
  for (size_t s = s0; s < end; s++) {
    size_t row = (p->batch * job->s + s) * job->d;
    full_fetch_source(p, k, s);
    for (size_t g = 0; g < p->n; g++) {
      largest[g] = vec_max(vec_read(k, row + (p->first + g) * LANES, full_lanes(job, p->first + g)), largest[g]);
    }
  }
  for (size_t g = 0; g < p->n; g++) {
    p->key[g] = vec_pick(largest[g] > p->key[g] + vec_of(AFT_RAISE), largest[g], p->key[g]);
    vec_store(job->keys + ((p->batch * job->groups + p->first + g) * job->blocks + block) * LANES, p->key[g]);
  }
  for (size_t s = s0; s < end; s++) {
    size_t g = 0;
    full_fetch_source(p, &job->f->call->in[2], s);
    for (; g + BATCH <= p->n; g += BATCH) full_terms(p, s, g, BATCH);
    for (; g < p->n; g++) full_terms(p, s, g, 1);
  }
}

static int full_judge(full_strip *p, int scaled) {
  int again = 0;
  for (size_t g = 0; g < p->n; g++) {
    for (size_t l = 0; l < full_lanes(p->job, p->first + g); l++) {
      float down = p->down[g][l], up = p->up[g][l];
      again |= vec_judge(p->num[g][l], p->den[g][l], p->top[g][l], scaled, &down, &up,
                         &p->job->f->odd[p->batch * p->job->d + (p->first + g) * LANES + l]);
      p->down[g][l] = down;
      p->up[g][l] = up;
    }
  }
  return again;
}

/* The terms, keys and factors of vectors first..first+n-1 of a batch entry. */
static void full_strip_terms(const full_simd *job, size_t batch, size_t first, size_t n) {
  full_strip p = {.job = job, .batch = batch, .first = first, .n = n};
  for (size_t g = 0; g < p.n; g++) p.down[g] = p.up[g] = vec_of(1);
  for (int scaled = 0; scaled < 2; scaled++) {
    for (size_t g = 0; g < p.n; g++) {
      p.key[g] = vec_of(-FLT_MAX);
      p.num[g] = p.den[g] = p.top[g] = vec_of(0);
    }
    for (size_t b = 0; b < job->blocks; b++) full_block_terms(&p, b);
    if (!full_judge(&p, scaled)) break;
  }
  for (size_t g = 0; g < p.n; g++) vec_store(job->up + (p.batch * job->groups + p.first + g) * LANES, p.up[g]);
}

static void full_terms_task(void *arg, size_t i, double *scratch) {
  const full_simd *job = arg;
  size_t most = FULL_STRIP / LANES, strips = aft_div_up(job->groups, most), first = i % strips * most;
  (void)scratch;
  full_strip_terms(job, i / strips, first, aft_min(most, job->groups - first));
}

#endif
