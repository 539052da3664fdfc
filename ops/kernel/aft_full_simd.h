/* AFTFull a vector of channels at a time: a blocked product of exp(W) with [exp(K)V | exp(K)].
 *
 * First the terms of all sources are made, FULL_BLOCK sources at a time; a block's key is that of the block before unless
 * its largest K lies far above. Then a task takes FULL_ROWS positions and FULL_CHANNELS channels and goes through the
 * blocks, scaling its sums where the key rises. So a huge key disturbs no block before its own: when causal, a position
 * that cannot see it has lost only the terms of the block that both are in, and computes those from the logits. */
#include "aft_full_terms_simd.h"

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

/* One vector of channels of a batch entry, and the block that is being added. */
typedef struct {
  const full_simd *job;
  size_t batch, g, block;
  vec before, key, up; /* the keys of the block before and of this one */
} full_lane;

typedef struct {
  const full_lane *at;
  size_t from;
} full_exact_from;

VEC vec full_exact_read(const full_lane *at, int input, size_t s) {
  const full_simd *job = at->job;
  return vec_read(&job->f->call->in[input], (at->batch * job->s + s) * job->d + at->g * LANES, full_lanes(job, at->g));
}

VEC vec full_exact_value(const void *arg, size_t i, vec k) {
  const full_exact_from *f = arg;
  (void)k;
  return full_exact_read(f->at, 2, f->from + i) * (vec_of(1) / f->at->up);
}

/* num and den of position t over sources lo..hi-1, added to s. */
static void full_exact_sources(const full_lane *at, size_t t, size_t lo, size_t hi, exact_sums *s) {
  const aft_tensor *bias = &at->job->f->call->in[3];
  while (hi > lo) {
    size_t n = aft_min(EXACT_CHUNK, hi - lo), from = hi - n;
    vec k[EXACT_CHUNK];
    float w[EXACT_CHUNK];
    for (size_t i = 0; i < n; i++) k[i] = vec_of(0.5f) * full_exact_read(at, 1, from + i);
    for (size_t i = 0; i < n; i++) w[i] = 0.5f * vec_read_one(bias, t * (size_t)bias->dims[1] + from + i)[0];
    exact_add(s, k, (exact_bias){w, 0}, n, full_exact_value, &(full_exact_from){at, from});
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

/* Positions t.. of a tile whose sums cannot all be trusted: replaces those that cannot, from the sums (and totals) of the
 * blocks before. Marks positions whose Y is done. */
static __attribute__((noinline)) void full_repair(const full_lane *at, size_t t, size_t rows, const float *sums,
                                                  const float *total, float *all, unsigned char *done) {
  const full_simd *job = at->job;
  _Alignas(64) float prefix[TILE];
  for (size_t i = 0; i < rows * TERM; i += LANES) {
    vec x = at->block == 0 ? vec_of(0) : vec_aligned(sums + i);
    if (at->block > 0 && total != NULL) x += vec_aligned(total + i);
    vec_store_aligned(prefix + i, x);
  }
  for (size_t r = 0; r < rows; r++) {
    vec_bits bad = ~(vec_aligned(all + r * TERM + LANES) >= vec_of(job->tiny));
    done[r] = vec_any(bad) && job->kind[t + r] == ROW_ODD;
    if (done[r]) {
      for (size_t l = 0; l < full_lanes(job, at->g); l++) {
        aft_full_exact(job->f->call, job->f->out, at->batch, t + r, at->g * LANES + l);
      }
    }
    if (!vec_any(bad) || done[r]) continue;
    vec num = vec_of(0), den = vec_of(1);
    if (job->kind[t + r] == ROW_PLAIN) full_exact(at, t + r, prefix + r * TERM, &num, &den);
    tile_replace(all + r * TERM, bad, num, den);
  }
}

/* Y of `rows` positions of a tile from their finished sums, `all`. */
VEC void full_finish(const full_lane *at, size_t t, size_t rows, const float *sums, const float *total, float *all) {
  const full_simd *job = at->job;
  const aft_fast *f = job->f;
  size_t i = (at->batch * job->t + t) * job->d + at->g * LANES, lanes = full_lanes(job, at->g);
  unsigned char done[ROWS];
  if (tile_trusted(all, rows, job->tiny)) {
    tile_finish(f->call, f->out, i, job->d, all, at->up, lanes, rows);
    return;
  }
  full_repair(at, t, rows, sums, total, all, done);
  for (size_t r = 0; r < rows; r++) {
    if (!done[r]) tile_finish(f->call, f->out, i + r * job->d, 0, all + r * TERM, at->up, lanes, 1);
  }
}

/* Asks for the Q and Y of a tile, whose product comes before they are needed. */
VEC void full_fetch(const full_lane *at, size_t t, size_t rows) {
  const full_simd *job = at->job;
  const aft_tensor *q = &job->f->call->in[0], out = {.dtype = q->dtype, .data = job->f->out};
  for (size_t r = 0; r < rows; r++) {
    size_t i = (at->batch * job->t + t + r) * job->d + at->g * LANES;
    vec_fetch_far(q, i);
    vec_fetch_far(&out, i);
  }
}

/* A tile's last block: its product, then Y. */
static void full_last(const full_lane *at, size_t tile, vec scale, const float *sums, const float *total,
                      const float *weights, const float *terms, size_t n, tile_ahead ahead) {
  const full_simd *job = at->job;
  _Alignas(64) float all[TILE];
  full_fetch(at, tile * ROWS, aft_min(ROWS, job->t - tile * ROWS));
  for (size_t i = 0; i < TILE; i += LANES) {
    vec x = at->block == 0 ? vec_of(0) : vec_aligned(sums + i);
    if (at->block > 0 && total != NULL) x += vec_aligned(total + i);
    vec_store_aligned(all + i, x * scale);
  }
  tile_product_ahead(all, weights, terms, n, ahead);
  full_finish(at, tile * ROWS, aft_min(ROWS, job->t - tile * ROWS), sums, total, all);
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

/* What the products of a block ask for: the terms of the next vector, or of the next block's first, a part a tile. They
 * come from a cache far away, and a product waits for them if nobody has asked. */
static tile_ahead full_ahead(const full_rows *p, const full_lane *at, const float *terms, size_t n) {
  const full_simd *job = p->job;
  size_t run = aft_div_up(TILE_RUN * TERM * sizeof(float), p->n);
  const float *next = terms + job->s * TERM;
  if (at->g + 1 == p->g1) {
    if ((at->block + 1) * job->block >= job->s) return (tile_ahead){0};
    next = terms - (p->g1 - 1 - p->g0) * job->s * TERM + n * TERM;
  }
  return (tile_ahead){(uintptr_t)next, run};
}

static void full_add_block(const full_rows *p, full_lane *at, size_t n) {
  const full_simd *job = p->job;
  size_t s0 = at->block * job->block, column = at->batch * job->groups + at->g;
  const float *keys = job->keys + (column * job->blocks + at->block) * LANES;
  const float *terms = job->terms + ((column - job->column) * job->s + s0) * TERM;
  at->key = vec_load(keys);
  at->before = at->block > 0 ? vec_load(keys - LANES) : vec_of(-FLT_MAX);
  at->up = vec_load(job->up + column * LANES);
  int raised = at->block > 0 && vec_any(at->before != at->key);
  vec scale = raised ? vec_exp(at->before - at->key) : vec_of(1);
  tile_ahead ahead = full_ahead(p, at, terms, n);
  for (size_t tile = p->first; tile < p->first + p->n; tile++) {
    size_t end = (tile + 1) * ROWS, some = n;
    size_t place = job->blocks > 1 ? ((at->g - p->g0) * p->n + tile - p->first) * TILE : 0;
    float *sums = p->sums + place, *total = p->totals == NULL ? NULL : p->totals + place;
    const float *weights = full_weights(p, tile, s0);
    if (job->causal && end <= s0) continue;
    if (job->causal) some = aft_min(n, end - s0);
    if (s0 + n == job->s || (job->causal && end <= s0 + n)) {
      full_last(at, tile, scale, sums, total, weights, terms, some, ahead);
      ahead.at += n / TILE_RUN * ahead.run;
      continue;
    }
    if (at->block == 0) {
      memset(sums, 0, TILE * sizeof(float));
      if (total != NULL) memset(total, 0, TILE * sizeof(float));
    } else {
      full_settle(sums, total, scale, raised, total != NULL && at->block % FULL_RUN == 0);
    }
    tile_product_ahead(sums, weights, terms, some, ahead);
    ahead.at += n / TILE_RUN * ahead.run;
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

/* Y of row block `rows` for vectors g0..g1-1 of a batch entry. */
static void full_rows_of(const full_simd *job, size_t batch, size_t g0, size_t g1, size_t rows, float *floats) {
  full_rows p = {.job = job, .batch = batch, .g0 = g0, .g1 = g1, .sums = floats};
  p.first = full_tiles_before(job, rows);
  p.n = full_tiles_before(job, rows + 1) - p.first;
  size_t sums = job->blocks > 1 ? (p.g1 - p.g0) * p.n * TILE : 0; /* what is left of one block needs no memory */
  p.totals = job->blocks > FULL_RUN ? p.sums + sums : NULL;
  p.packed = p.sums + (job->blocks > FULL_RUN ? 2 : 1) * sums;
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

static void full_rows_task(void *arg, size_t i, double *scratch) {
  const full_simd *job = arg;
  size_t rows = job->row_blocks - 1 - i / job->strips % job->row_blocks, g0 = i % job->strips * (FULL_CHANNELS / LANES);
  full_rows_of(job, i / job->strips / job->row_blocks, g0, aft_min(g0 + FULL_CHANNELS / LANES, job->groups), rows,
               aft_line(scratch));
}

/* All of some channels of a short sequence: their terms are read again before they leave the cache. */
static void full_small_task(void *arg, size_t i, double *scratch) {
  full_simd job = *(const full_simd *)arg;
  size_t batch = i / job.strips, g0 = i % job.strips * (FULL_SMALL / LANES), g1 = aft_min(g0 + FULL_SMALL / LANES, job.groups);
  job.column = batch * job.groups + g0;
  job.terms = aft_line(scratch);
  full_strip_terms(&job, batch, g0, g1 - g0);
  for (size_t r = 0; r < job.row_blocks; r++) {
    full_rows_of(&job, batch, g0, g1, r, job.terms + FULL_SMALL / LANES * job.s * TERM);
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

/* The floats that full_rows_of needs for so many vectors. */
static size_t full_rows_room(const full_simd *job, size_t vectors) {
  size_t most = aft_div_up(aft_div_up(job->t, ROWS), job->row_blocks), floats = 0;
  if (job->blocks > 1) floats = vectors * most * TILE * (job->blocks > FULL_RUN ? 2 : 1);
  return job->weights == NULL ? floats + most * job->block * ROWS : floats;
}

static int full_run_small(full_simd *job) {
  size_t vectors = FULL_SMALL / LANES;
  job->strips = aft_div_up(job->groups, vectors);
  return aft_tasks(job->f->host, full_small_task, job, job->batches * job->strips,
                   aft_doubles(vectors * job->s * TERM + full_rows_room(job, vectors)));
}

static int full_run_large(full_simd *job) {
  const aft_host *host = job->f->host;
  size_t strips = aft_div_up(job->groups, FULL_STRIP / LANES), vectors = aft_min(FULL_CHANNELS / LANES, job->groups);
  int rc = aft_tasks(host, full_terms_task, job, job->batches * strips, 0);
  if (rc != AFT_OK) return rc;
  job->strips = aft_div_up(job->groups, FULL_CHANNELS / LANES);
  return aft_tasks(host, full_rows_task, job, job->batches * job->row_blocks * job->strips,
                   aft_doubles(full_rows_room(job, vectors)));
}

/* Small: a packed W, and terms that fit a cache. */
static int full_is_small(const full_simd *job) {
  return job->f->call->packed != NULL && job->s <= FULL_SHORT && job->t <= FULL_SHORT;
}

static int simd_full(const aft_fast *f) {
  const aft_call *call = f->call;
  const full_packed *packed = (const full_packed *)(const void *)call->packed;
  full_simd job = {.f = f, .batches = (size_t)call->in[0].dims[0], .causal = call->attrs.causal == 1};
  job.t = (size_t)call->in[0].dims[1];
  job.s = (size_t)call->in[1].dims[1];
  job.d = (size_t)call->in[0].dims[2];
  job.groups = aft_div_up(job.d, LANES);
  job.block = job.s <= FULL_SHORT && !job.causal ? FULL_SHORT : FULL_BLOCK;
  job.blocks = aft_div_up(job.s, job.block);
  job.tiny = (float)job.s * AFT_DEN_TINY;
  job.row_blocks = aft_div_up(job.t, FULL_ROWS);
  int small = full_is_small(&job), rc = AFT_OK;
  size_t columns = aft_mul(job.batches, job.groups), at = 0;
  size_t terms = aft_room(&at, small ? 0 : aft_mul(aft_mul(columns, job.s), TERM));
  size_t keys = aft_room(&at, aft_mul(columns, job.blocks * LANES)), up = aft_room(&at, columns * LANES);
  size_t shift = aft_room(&at, job.t), kind = aft_room(&at, job.t);
  void *memory = aft_take(f->host, aft_mul(aft_add(at, AFT_LINE), sizeof(float)));
  if (memory == NULL) return AFT_NO_MEMORY;
  float *floats = aft_line(memory);
  job.terms = floats + terms;
  job.keys = floats + keys;
  job.up = floats + up;
  if (packed != NULL) {
    job.shift = packed->shift;
    job.kind = packed->kind;
    job.weights = packed->weights;
    job.packed_sources = packed->sources;
  } else {
    full_scan scan = {f, floats + shift, (unsigned char *)(floats + kind), job.t};
    job.shift = scan.shift;
    job.kind = scan.kind;
    rc = aft_tasks(f->host, full_scan_task, &scan, aft_div_up(job.t, FULL_ROWS), 0);
  }
  if (rc == AFT_OK) rc = small ? full_run_small(&job) : full_run_large(&job);
  aft_give_back(f->host, memory);
  return rc;
}
