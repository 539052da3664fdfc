/* AFTFull a vector of channels at a time: a blocked product of exp(W) with [exp(K)V | exp(K)].
 *
 * First the terms of all sources are made, FULL_BLOCK sources at a time; a block's key is that of the block before unless
 * its largest K lies far above. Then a task takes FULL_ROWS positions and FULL_CHANNELS channels and goes through the
 * blocks, scaling its sums where the key rises. So a huge key disturbs no block before its own: when causal, a position
 * that cannot see it has lost only the terms of the block that both are in, and computes those from the logits. */
#include "aft_exact_simd.h"
#include "aft_tile_simd.h"

enum {
  FULL_BLOCK = 132,    /* a multiple of every ROWS: the causal end of a tile lies in one block */
  FULL_SHORT = 264,    /* not causal, so many sources are one block, if there are no more */
  FULL_ROWS = 96,      /* so is this */
  FULL_CHANNELS = 256, /* exp(W) of a task's rows is read once for so many */
  FULL_STRIP = 256,    /* channels of a task that makes terms */
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
  float *term = job->terms + ((p->batch * job->groups + p->first + g) * job->s + s) * TERM;
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

/* The keys of a block, then its terms. */
static void full_block_terms(full_strip *p, size_t block) {
  const full_simd *job = p->job;
  const aft_tensor *k = &job->f->call->in[1];
  size_t s0 = block * job->block, end = aft_min(s0 + job->block, job->s);
  vec largest[FULL_STRIP / LANES];
  for (size_t g = 0; g < p->n; g++) largest[g] = vec_of(-INFINITY);
  for (size_t s = s0; s < end; s++) {
    size_t row = (p->batch * job->s + s) * job->d;
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

static void full_terms_task(void *arg, size_t i, double *scratch) {
  const full_simd *job = arg;
  size_t strips = aft_div_up(job->groups, FULL_STRIP / LANES);
  full_strip p = {.job = job, .batch = i / strips, .first = i % strips * (FULL_STRIP / LANES)};
  (void)scratch;
  p.n = aft_min(FULL_STRIP / LANES, job->groups - p.first);
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

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

/* One vector of channels of a batch entry, and the block that is being added. */
typedef struct {
  const full_simd *job;
  size_t batch, g, block;
  vec before, key, up; /* the keys of the block before and of this one */
} full_lane;

/* num and den of position t over sources lo..hi-1, added to s. */
static void full_exact_sources(const full_lane *at, size_t t, size_t lo, size_t hi, exact_sums *s) {
  const full_simd *job = at->job;
  const aft_call *call = job->f->call;
  size_t n = full_lanes(job, at->g), column = at->g * LANES;
  vec half = vec_of(0.5f), down = vec_of(1) / at->up;
  while (hi > lo) {
    size_t from = hi - aft_min(EXACT_CHUNK, hi - lo);
    vec k[EXACT_CHUNK], num = vec_of(0), den = vec_of(0);
    float w[EXACT_CHUNK];
    for (size_t i = from; i < hi; i++) {
      k[i - from] = half * vec_read(&call->in[1], (at->batch * job->s + i) * job->d + column, n);
      w[i - from] = 0.5f * vec_read_one(&call->in[3], t * (size_t)call->in[3].dims[1] + i)[0];
    }
    if (exact_reaches(s, k, (exact_bias){w, 0}, hi - from)) {
      for (size_t i = from; i < hi; i++) {
        if (!exact_counts(s, k[i - from], vec_of(w[i - from]))) continue;
        vec v = vec_read(&call->in[2], (at->batch * job->s + i) * job->d + column, n) * down;
        exact_term(s, k[i - from], vec_of(w[i - from]), v, &num, &den);
      }
    }
    vec_add(&s->num, &s->num_lost, num);
    vec_add(&s->den, &s->den_lost, den);
    hi = from;
  }
}

/* Position t from the sums of the blocks before, which are exact if they are not tiny beside the result, and the logits
 * of this block; from all logits where they are tiny. */
static __attribute__((noinline)) void full_exact(const full_lane *at, size_t t, const float *prefix, vec *num, vec *den) {
  const full_simd *job = at->job;
  size_t end = job->causal ? t + 1 : job->s;
  exact_sums s = exact_empty();
  s.num = vec_aligned(prefix);
  s.den = vec_aligned(prefix + LANES);
  s.top = exact_logit(vec_of(0.5f) * at->before, vec_of(0.5f * job->shift[t]));
  full_exact_sources(at, t, at->block * job->block, end, &s);
  vec_bits bad = ~(s.den >= vec_of(job->tiny));
  *num = s.num;
  *den = s.den;
  if (!vec_any(bad)) return;
  s = exact_empty();
  full_exact_sources(at, t, 0, end, &s);
  *num = vec_pick(bad, s.num, *num);
  *den = vec_pick(bad, vec_max(vec_of(0x1p-126f), s.den), *den);
}

/* Positions t.. of a tile whose sums cannot all be trusted: replaces those that cannot. Marks positions whose Y is done. */
static __attribute__((noinline)) void full_repair(const full_lane *at, size_t t, size_t rows, const float *prefix, vec *num,
                                                  vec *den, unsigned char *done) {
  const full_simd *job = at->job;
  for (size_t r = 0; r < rows; r++) {
    vec_bits bad = ~(den[r] >= vec_of(job->tiny));
    done[r] = vec_any(bad) && job->kind[t + r] == ROW_ODD;
    if (done[r]) {
      for (size_t l = 0; l < full_lanes(job, at->g); l++) {
        aft_full_exact(job->f->call, job->f->out, at->batch, t + r, at->g * LANES + l);
      }
    }
    if (!vec_any(bad) || done[r]) continue;
    vec exact_num = vec_of(0), exact_den = vec_of(1);
    if (job->kind[t + r] == ROW_PLAIN) full_exact(at, t + r, prefix + r * TERM, &exact_num, &exact_den);
    num[r] = vec_pick(bad, exact_num, num[r]);
    den[r] = vec_pick(bad, exact_den, den[r]);
  }
}

/* Y of `rows` positions of a tile from their finished sums. */
VEC void full_finish(const full_lane *at, size_t t, size_t rows, const float *prefix, const float *all) {
  const full_simd *job = at->job;
  const aft_fast *f = job->f;
  size_t i = (at->batch * job->t + t) * job->d + at->g * LANES, lanes = full_lanes(job, at->g);
  vec num[ROWS], den[ROWS], up[ROWS], least = vec_of(FLT_MAX);
  for (size_t r = 0; r < rows; r++) {
    num[r] = vec_aligned(all + r * TERM);
    den[r] = vec_aligned(all + r * TERM + LANES);
    up[r] = at->up;
    least = vec_pick(den[r] >= least, least, den[r]); /* NaN is least */
  }
  if (__builtin_expect(vec_any(~(least >= vec_of(job->tiny))), 0)) {
    unsigned char done[ROWS];
    full_repair(at, t, rows, prefix, num, den, done);
    for (size_t r = 0; r < rows; r++) {
      if (!done[r]) vec_finish_some(f->call, f->out, i + r * job->d, 0, num + r, den + r, up + r, lanes, 1);
    }
    return;
  }
  vec_finish_many(f->call, f->out, i, job->d, num, den, up, lanes, rows);
}

/* A tile's last block: its product, then Y. */
static void full_last(const full_lane *at, size_t tile, vec scale, const float *sums, const float *total,
                      const float *weights, const float *terms, size_t n) {
  const full_simd *job = at->job;
  _Alignas(64) float prefix[TILE], all[TILE];
  for (size_t i = 0; i < TILE; i += LANES) {
    vec x = at->block == 0 ? vec_of(0) : total == NULL ? vec_aligned(sums + i) : vec_aligned(sums + i) + vec_aligned(total + i);
    vec_store_aligned(prefix + i, x);
    vec_store_aligned(all + i, x * scale);
  }
  tile_product(all, weights, terms, n);
  full_finish(at, tile * ROWS, aft_min(ROWS, job->t - tile * ROWS), prefix, all);
}

/* Before another block is added to a tile: takes the sums to its scale, and to the totals when they are long. */
VEC void full_settle(float *sums, float *total, vec scale, int raised, int flush) {
  for (size_t i = 0; raised && i < TILE; i += LANES) vec_store_aligned(sums + i, vec_aligned(sums + i) * scale);
  for (size_t i = 0; raised && total != NULL && i < TILE; i += LANES) {
    vec_store_aligned(total + i, vec_aligned(total + i) * scale);
  }
  for (size_t i = 0; flush && i < TILE; i += LANES) {
    vec_store_aligned(total + i, vec_aligned(total + i) + vec_aligned(sums + i));
    vec_store_aligned(sums + i, vec_of(0));
  }
}

/* Tiles first..first+n-1 of a batch entry and vectors of channels g0..g1-1. */
typedef struct {
  const full_simd *job;
  size_t batch, first, n, g0, g1;
  float *sums;   /* (vectors, tiles, TILE) */
  float *totals; /* the same where there are more than FULL_RUN blocks, else NULL */
  float *packed; /* (tiles, block, ROWS) of the block, where W is not packed */
} full_rows;

static const float *full_weights(const full_rows *p, size_t tile, size_t s0) {
  const full_simd *job = p->job;
  if (job->weights == NULL) return p->packed + (tile - p->first) * job->block * ROWS;
  return job->weights + full_tile_at(tile, job->packed_sources, job->causal) + s0 * ROWS;
}

static void full_add_block(const full_rows *p, full_lane *at, size_t n) {
  const full_simd *job = p->job;
  size_t s0 = at->block * job->block, column = at->batch * job->groups + at->g;
  const float *keys = job->keys + (column * job->blocks + at->block) * LANES;
  const float *terms = job->terms + (column * job->s + s0) * TERM;
  at->key = vec_load(keys);
  at->before = at->block > 0 ? vec_load(keys - LANES) : vec_of(-FLT_MAX);
  at->up = vec_load(job->up + column * LANES);
  int raised = at->block > 0 && vec_any(at->before != at->key);
  vec scale = raised ? vec_exp(at->before - at->key) : vec_of(1);
  for (size_t tile = p->first; tile < p->first + p->n; tile++) {
    size_t end = (tile + 1) * ROWS, some = n;
    size_t place = job->blocks > 1 ? ((at->g - p->g0) * p->n + tile - p->first) * TILE : 0;
    float *sums = p->sums + place, *total = p->totals == NULL ? NULL : p->totals + place;
    const float *weights = full_weights(p, tile, s0);
    if (job->causal && end <= s0) continue;
    if (job->causal) some = aft_min(n, end - s0);
    if (s0 + n == job->s || (job->causal && end <= s0 + n)) {
      full_last(at, tile, scale, sums, total, weights, terms, some);
      continue;
    }
    full_settle(sums, total, scale, raised, total != NULL && at->block % FULL_RUN == 0);
    tile_product(sums, weights, terms, some);
  }
}

static void full_pack_block(const full_rows *p, size_t s0, size_t n) {
  const full_simd *job = p->job;
  for (size_t tile = p->first; tile < p->first + p->n; tile++) {
    if (job->causal && (tile + 1) * ROWS <= s0) continue;
    full_pack_tile(&job->f->call->in[3], job->t, tile, s0, n, job->causal, job->shift, job->kind,
                   p->packed + (tile - p->first) * job->block * ROWS);
  }
}

/* The tiles of row block i: as even as they can be. */
static size_t full_tiles_before(const full_simd *job, size_t i) { return aft_div_up(job->t, ROWS) * i / job->row_blocks; }

static void full_rows_task(void *arg, size_t i, double *scratch) {
  const full_simd *job = arg;
  size_t rows = job->row_blocks - 1 - i / job->strips % job->row_blocks, vectors = FULL_CHANNELS / LANES;
  full_rows p = {.job = job, .batch = i / job->strips / job->row_blocks, .g0 = i % job->strips * vectors};
  p.g1 = aft_min(p.g0 + vectors, job->groups);
  p.first = full_tiles_before(job, rows);
  p.n = full_tiles_before(job, rows + 1) - p.first;
  size_t sums = job->blocks > 1 ? (p.g1 - p.g0) * p.n * TILE : 0; /* what is left of one block needs no memory */
  p.sums = aft_line(scratch);
  p.totals = job->blocks > FULL_RUN ? p.sums + sums : NULL;
  p.packed = p.sums + (job->blocks > FULL_RUN ? 2 : 1) * sums;
  if (job->blocks > 1) memset(p.sums, 0, (size_t)(p.packed - p.sums) * sizeof(float));
  size_t end = job->causal ? aft_min(job->s, (p.first + p.n) * ROWS) : job->s;
  for (size_t s0 = 0; s0 < end; s0 += job->block) {
    size_t n = aft_min(job->block, job->s - s0);
    if (job->weights == NULL) full_pack_block(&p, s0, n);
    for (size_t g = p.g0; g < p.g1; g++) {
      full_lane at = {.job = job, .batch = p.batch, .g = g, .block = s0 / job->block};
      full_add_block(&p, &at, n);
    }
  }
}

/* ---- the whole ----------------------------------------------------------------------------------------------------- */

typedef struct {
  const aft_fast *f;
  float *shift;
  unsigned char *kind;
  size_t rows;
} full_scan;

static void full_scan_task(void *arg, size_t i, double *scratch) {
  const full_scan *scan = arg;
  const aft_call *call = scan->f->call;
  (void)scratch;
  for (size_t t = i * FULL_ROWS; t < aft_min(scan->rows, (i + 1) * FULL_ROWS); t++) {
    size_t n = call->attrs.causal == 1 ? t + 1 : (size_t)call->in[1].dims[1];
    full_scan_row(&call->in[3], t, n, &scan->shift[t], &scan->kind[t]);
  }
}

static int full_run(full_simd *job, float *shift, unsigned char *kind) {
  const aft_fast *f = job->f;
  const full_packed *packed = (const full_packed *)(const void *)f->call->packed;
  int rc = AFT_OK;
  if (packed != NULL) {
    job->shift = packed->shift;
    job->kind = packed->kind;
    job->weights = packed->weights;
    job->packed_sources = packed->sources;
  } else {
    full_scan scan = {f, shift, kind, job->t};
    job->shift = shift;
    job->kind = kind;
    rc = aft_tasks(f->host, full_scan_task, &scan, aft_div_up(job->t, FULL_ROWS), 0);
  }
  size_t strips = aft_div_up(job->groups, FULL_STRIP / LANES);
  if (rc == AFT_OK) rc = aft_tasks(f->host, full_terms_task, job, job->batches * strips, 0);
  if (rc != AFT_OK) return rc;
  size_t tiles = aft_div_up(job->t, ROWS), most = aft_div_up(tiles, job->row_blocks);
  size_t floats = aft_min(FULL_CHANNELS / LANES, job->groups) * most * TILE * (job->blocks > FULL_RUN ? 2 : 1);
  if (job->weights == NULL) floats += most * job->block * ROWS;
  return aft_tasks(f->host, full_rows_task, job, job->batches * job->row_blocks * job->strips, aft_doubles(floats));
}

static int simd_full(const aft_fast *f) {
  const aft_call *call = f->call;
  full_simd job = {.f = f, .batches = (size_t)call->in[0].dims[0], .causal = call->attrs.causal == 1};
  job.t = (size_t)call->in[0].dims[1];
  job.s = (size_t)call->in[1].dims[1];
  job.d = (size_t)call->in[0].dims[2];
  job.groups = aft_div_up(job.d, LANES);
  job.block = job.s <= FULL_SHORT && !job.causal ? FULL_SHORT : FULL_BLOCK;
  job.blocks = aft_div_up(job.s, job.block);
  job.tiny = (float)job.s * AFT_DEN_TINY;
  job.row_blocks = aft_div_up(job.t, FULL_ROWS);
  job.strips = aft_div_up(job.groups, FULL_CHANNELS / LANES);
  size_t columns = aft_mul(job.batches, job.groups), at = 0;
  size_t terms = aft_room(&at, aft_mul(aft_mul(columns, job.s), TERM)), keys = aft_room(&at, aft_mul(columns, job.blocks * LANES));
  size_t up = aft_room(&at, columns * LANES), shift = aft_room(&at, job.t), kind = aft_room(&at, job.t);
  void *memory = aft_take(f->host, aft_mul(aft_add(at, AFT_LINE), sizeof(float)));
  if (memory == NULL) return AFT_NO_MEMORY;
  float *floats = aft_line(memory);
  job.terms = floats + terms;
  job.keys = floats + keys;
  job.up = floats + up;
  int rc = full_run(&job, floats + shift, (unsigned char *)(floats + kind));
  aft_give_back(f->host, memory);
  return rc;
}
