/* What aft_line_simd.h computes with: the job and its pieces, the weights of the biases, and the terms of the sources with
 * their sums. */
#ifndef AFT_LINE_TERMS_SIMD_H
#define AFT_LINE_TERMS_SIMD_H

#include "aft_exact_simd.h"
#include "aft_tile_simd.h"
#include "aft_window.h"

enum {
  LINE_TILE = ROWS > 6 && LANES > 4 ? 6 : ROWS, /* rows of a tile: the more, the more sources outside their windows */
  LINE_CHUNK = 24, /* a multiple of every LINE_TILE */
  LINE_TILES = LINE_CHUNK / LINE_TILE,
  LINE_GROUPS = 256 / LANES, /* vectors of channels in a task, at most */
  LINE_SLIDE = 4,            /* chunks between two moves of the terms that are kept */
  LINE_ROW = LINE_CHUNK + LANES
};

/* The weights of a tile: LINE_TILE floats for each of its sources, then exp(0 - shift) of its rows, then their shifts, NaN
 * where a bias is NaN or +Inf. */
typedef struct {
  aft_packed head;
  size_t left, taps, rows;
  float *weights;
} line_packed;

typedef struct {
  const aft_fast *f;
  aft_window w;
  size_t t, d, groups, strips, width, chunks; /* strips of `width` vectors */
  size_t right;  /* sources of a window after its position */
  size_t length; /* sources of a tile's windows */
  size_t cap;    /* sources of a chunk's windows */
  size_t room;   /* and of LINE_SLIDE - 1 chunks more */
  int causal;
  float tiny; /* den that is too small to trust */
  const line_packed *packed;
} line_simd;

/* A vector of channels: the sum of all sources before the windows of the tile at hand, over exp(key), with what rounding
 * took; the same as it was when the chunk began. */
typedef struct {
  vec key, num, den, num_lost, den_lost;
  vec chunk_key, chunk_num, chunk_den;
  vec top, down, up;
} line_state;

/* What a position's sums over its chunk are made of, the same for all vectors of a head: over the largest logit, whose half
 * is hi + lo, exp of the `n` sources of the chunk where that is not 0, their sum, and the factor of the running sums. */
typedef struct {
  size_t head, t;
  float hi, lo, scale, den;
  size_t n;
  float e[LINE_CHUNK];
  unsigned char source[LINE_CHUNK];
} line_logits;

typedef struct {
  const line_simd *job;
  size_t batch, first, n; /* vectors first..first+n-1 */
  size_t filled;          /* sources whose terms have been made */
  float *terms;           /* (n, room, TERM) */
  float *place[LINE_GROUPS]; /* where the terms of the chunk's windows begin: (cap, TERM) from source chunk - left on */
  size_t size[LINE_GROUPS];  /* TERM; or LANES, a V alone, where another vector leads */
  float *suffix;          /* (chunks, n, TERM) sums after the chunk's windows; not when causal */
  float *weights;         /* of the chunk's tiles, or of the strip's heads */
  size_t head[LINE_GROUPS];
  size_t lead[LINE_GROUPS];   /* the first vector with this one's keys and biases: its a and den are this one's too */
  vec dens[LINE_TILES][LINE_TILE]; /* of the tiles of a vector that leads */
  line_state state[LINE_GROUPS];
  float *keys; /* (cap, LANES) half of K of one vector in the chunk's windows, for the exact path */
  size_t keys_vector, keys_chunk; /* of which vector and chunk; NO_KEYS: of none */
  float *biases; /* (LINE_CHUNK, LINE_ROW) half of a head's biases within a chunk, -Inf for what comes later */
  size_t biases_head, biases_chunk;
  line_logits logits[LINE_CHUNK]; /* AFTConv1D, of the chunk's positions */
} line_strip;

#define NO_KEYS SIZE_MAX

static size_t line_weights(size_t length) { return (length + 2) * LINE_TILE; }

static size_t line_lanes(const line_simd *job, size_t g) { return aft_min(LANES, job->d - g * LANES); }

/* The head of vector g; AFTLocal has one. */
static size_t line_head(const line_simd *job, size_t g) {
  size_t heads = (size_t)job->f->call->in[1].dims[2];
  return job->w.w_head == 0 ? 0 : g * LANES / (job->d / heads);
}

static int line_leads(const line_strip *p, size_t g) { return p->lead[g] == g; }

/* ---- weights ------------------------------------------------------------------------------------------------------- */

/* Row r of a tile from taps b0..b1-1, which begin at element `at` of W. */
static void line_pack_row(const aft_tensor *w, size_t length, int causal, size_t r, size_t at, size_t b0, size_t b1,
                          float *weights) {
  float *column = weights + r, shift = 0; /* the 0 outside counts */
  int odd = 0;
  for (size_t b = b0; b < b1; b += LANES) {
    size_t n = aft_min(LANES, b1 - b);
    vec x = vec_read(w, at + b - b0, n);
    for (size_t j = 0; j < n; j++) {
      odd |= !(x[j] <= FLT_MAX);
      shift = x[j] > shift ? x[j] : shift;
    }
  }
  vec rest = vec_exp(vec_of(-shift));
  float outside = odd ? 0 : rest[0];
  for (size_t i = 0; i < b0 + r; i++) column[i * LINE_TILE] = outside;
  for (size_t b = b0; b < b1; b += LANES) {
    size_t n = aft_min(LANES, b1 - b);
    vec e = vec_exp(vec_read(w, at + b - b0, n) - vec_of(shift));
    for (size_t j = 0; j < n; j++) column[(b + j + r) * LINE_TILE] = odd ? 0 : e[j];
  }
  for (size_t i = b1 + r; i < length; i++) column[i * LINE_TILE] = causal ? 0 : outside;
  column[length * LINE_TILE] = outside;
  column[(length + 1) * LINE_TILE] = odd ? NAN : shift;
}

/* AFTLocal: tile t0 / LINE_TILE of `rows` positions; `first` is the element of W that holds tap 0 of position 0. */
static void line_pack_band(const aft_tensor *w, size_t first, size_t step, size_t rows, size_t left, size_t taps,
                           int causal, size_t t0, float *weights) {
  size_t length = taps + LINE_TILE - 1;
  for (size_t r = 0; r < LINE_TILE; r++) {
    size_t t = t0 + r, b0 = t < left ? left - t : 0;
    if (t >= rows) { /* past the sequence: sums that nothing reads */
      for (size_t i = 0; i < length + 2; i++) weights[i * LINE_TILE + r] = 0;
      continue;
    }
    line_pack_row(w, length, causal, r, first + t * step + b0, b0, aft_min(taps, rows - t + left), weights);
  }
}

static int simd_local_pack(const aft_attrs *attrs, const aft_tensor *w, aft_packed **out) {
  size_t rows = (size_t)w->dims[0], taps = (size_t)w->dims[1], left = (size_t)attrs->window - 1, at = 0;
  size_t tiles = aft_div_up(rows, LINE_TILE), each = line_weights(taps + LINE_TILE - 1);
  int causal = attrs->causal == 1;
  if (attrs->window < 1 || left >= taps || (causal && left + 1 != taps)) return AFT_OK; /* aft_check will say so */
  float *floats;
  (void)aft_room(&at, aft_mul(tiles, each));
  line_packed *packed = aft_pack_memory(sizeof *packed, at, &floats);
  if (packed == NULL) return AFT_NO_MEMORY;
  *packed = (line_packed){.left = left, .taps = taps, .rows = rows, .weights = floats};
  for (size_t i = 0; i < tiles; i++) {
    line_pack_band(w, 0, taps, rows, left, taps, causal, i * LINE_TILE, packed->weights + i * each);
  }
  *out = &packed->head;
  return AFT_OK;
}

/* Whether the tile at t0 has packed weights: not where its windows reach past the end of a sequence shorter than W. */
static int line_is_packed(const line_simd *job, size_t t0) {
  if (job->packed == NULL) return 0;
  return job->causal || job->t == job->packed->rows || t0 + LINE_TILE + job->right <= job->t;
}

/* The weights of tile i of the chunk from position c0 on, for vector g. */
static const float *line_weights_of(const line_strip *p, size_t g, size_t c0, size_t i) {
  const line_simd *job = p->job;
  size_t each = line_weights(job->length);
  if (job->w.w_head != 0) return p->weights + (p->head[g] - p->head[0]) * each;
  if (!line_is_packed(job, c0 + i * LINE_TILE)) return p->weights + i * each;
  return job->packed->weights + (c0 / LINE_TILE + i) * each;
}

static void line_pack_chunk(const line_strip *p, size_t c0) {
  const line_simd *job = p->job;
  for (size_t i = 0; i < LINE_TILES && c0 + i * LINE_TILE < job->t; i++) {
    if (line_is_packed(job, c0 + i * LINE_TILE)) continue;
    line_pack_band(&job->f->call->in[3], job->w.w_first, job->w.w_position, job->t, job->w.left, job->w.kernel_cols,
                   job->causal, c0 + i * LINE_TILE, p->weights + i * line_weights(job->length));
  }
}

static void line_pack_heads(const line_strip *p) {
  const line_simd *job = p->job;
  size_t first = p->head[0];
  for (size_t h = first; h <= p->head[p->n - 1]; h++) {
    for (size_t r = 0; r < LINE_TILE; r++) {
      line_pack_row(&job->f->call->in[3], job->length, job->causal, r, job->w.w_first + h * job->w.w_head, 0,
                    job->w.kernel_cols, p->weights + (h - first) * line_weights(job->length));
    }
  }
}

/* ---- terms --------------------------------------------------------------------------------------------------------- */

/* Where the keys and values of a vector of channels are: elements of source 0, and from one source to the next. */
typedef struct {
  aft_tensor k, v;
  size_t key, key_step, value, value_step, lanes;
  int one; /* one key for all channels */
} line_sources;

VEC line_sources line_sources_of(const line_strip *p, size_t g) {
  const line_simd *job = p->job;
  line_sources x = {.k = job->f->call->in[1], .v = job->f->call->in[2], .one = job->w.w_head != 0};
  x.lanes = line_lanes(job, p->first + g);
  x.key_step = (size_t)x.k.dims[2];
  x.value_step = job->d;
  x.value = p->batch * job->t * job->d + (p->first + g) * LANES;
  x.key = p->batch * job->t * x.key_step + (x.one ? p->head[g] : (p->first + g) * LANES);
  return x;
}

VEC vec line_read_key(const line_sources *x, size_t s) {
  size_t i = x->key + s * x->key_step;
  return x->one ? vec_read_one(&x->k, i) : vec_read(&x->k, i, x->lanes);
}

/* K of source s for vector g of the strip. */
VEC vec line_key(const line_strip *p, size_t s, size_t g) {
  line_sources x = line_sources_of(p, g);
  return line_read_key(&x, s);
}

/* The largest of the keys of sources lo..hi-1 and `largest`; asks for those a chunk later. */
VEC vec line_largest_of(const line_sources *x, size_t lo, size_t hi, vec largest) {
  for (size_t s = lo; s < hi; s++) {
    if (!x->one) vec_fetch_far(&x->k, x->key + (s + LINE_CHUNK) * x->key_step);
    largest = vec_max(line_read_key(x, s), largest);
  }
  return largest;
}

/* largest[g] = max(largest[g], the keys of sources lo..hi-1). */
static void line_largest(const line_strip *p, size_t lo, size_t hi, vec *largest) {
  for (size_t s = lo; s < hi; s += LINE_CHUNK) { /* rows are read in pieces, and the pieces of a chunk lie in a cache */
    for (size_t g = 0; g < p->n; g++) {
      line_sources x = line_sources_of(p, g);
      largest[g] = line_leads(p, g) ? line_largest_of(&x, s, aft_min(hi, s + LINE_CHUNK), largest[g]) : largest[p->lead[g]];
    }
  }
}

/* aV and a of sources s..s+count-1; a comes from `known`, `step` floats a source, unless that is NULL. */
VEC void line_terms(const line_sources *x, size_t s, const line_state *state, vec *top, const float *known, size_t step,
                    vec *v, vec *a, const int count) {
  vec k[BATCH];
  EACH(j, count) k[j] = line_read_key(x, s + (size_t)j);
  EACH(j, count) v[j] = vec_read(&x->v, x->value + (s + (size_t)j) * x->value_step, x->lanes);
  EACH(j, count) v[j] = (vec)((vec_bits)v[j] & ~(k[j] == vec_of(-INFINITY))) * state->down;
  EACH(j, count) *top = vec_max(vec_magnitude(v[j]), *top);
  if (known == NULL) {
    EACH(j, count) a[j] = k[j] - state->key;
    vec_exps(a, count);
  } else {
    EACH(j, count) a[j] = vec_aligned(known + (size_t)j * step);
  }
  EACH(j, count) v[j] *= a[j];
}

/* Adds the terms of n sources to the sums; their a is in `as`, or goes there. */
VEC void line_add_terms(const line_sources *x, size_t s, const line_state *state, vec *top, float *as, int known, vec *num,
                        vec *den, const int n) {
  vec v[BATCH], a[BATCH];
  line_terms(x, s, state, top, known ? as : NULL, LANES, v, a, n);
  EACH(j, n) *num += v[j];
  EACH(j, n) *den += a[j];
  EACH(j, n) vec_store_aligned(as + (size_t)j * LANES, a[j]);
}

/* Sums of the terms of sources lo..hi-1, at most a chunk, whose a stays in `as` for the vectors that this one leads. Asks for
 * the sources of the chunk before. */
static void line_sum_sources(line_strip *p, size_t g, size_t lo, size_t hi, float *as, vec *num, vec *den) {
  line_sources x = line_sources_of(p, g);
  vec top = p->state[g].top;
  int known = !line_leads(p, g);
  size_t s = lo;
  for (size_t i = lo; i < hi && i >= LINE_CHUNK; i++) {
    vec_fetch_far(&x.v, x.value + (i - LINE_CHUNK) * x.value_step);
    if (!x.one) vec_fetch_far(&x.k, x.key + (i - LINE_CHUNK) * x.key_step);
  }
  *num = *den = vec_of(0);
  for (; s + BATCH <= hi; s += BATCH, as += BATCH * LANES) {
    line_add_terms(&x, s, &p->state[g], &top, as, known, num, den, BATCH);
  }
  for (; s < hi; s++, as += LANES) line_add_terms(&x, s, &p->state[g], &top, as, known, num, den, 1);
  p->state[g].top = top;
}

/* Sums after the windows of every chunk, last chunk first. */
static void line_suffixes(line_strip *p) {
  const line_simd *job = p->job;
  vec all[LINE_GROUPS][2], lost[LINE_GROUPS][2];
  _Alignas(64) float as[LINE_CHUNK * LANES];
  size_t done = job->t;
  memset(all, 0, sizeof all);
  memset(lost, 0, sizeof lost);
  for (size_t c = job->chunks; c-- > 0;) {
    size_t lo = aft_min(job->t, (c + 1) * LINE_CHUNK + job->right);
    for (size_t g = 0; g < p->n; g++) {
      float *suffix = p->suffix + (c * p->n + g) * TERM;
      vec num, den;
      line_sum_sources(p, g, lo, done, as, &num, &den);
      vec_add(&all[g][0], &lost[g][0], num);
      vec_add(&all[g][1], &lost[g][1], den);
      vec_store_aligned(suffix, all[g][0]);
      vec_store_aligned(suffix + LANES, all[g][1]);
    }
    done = lo;
  }
}

/* Keeps the terms of n sources from s on; asks for values a chunk later. */
VEC void line_keep_terms(const line_sources *x, size_t s, const line_state *state, vec *top, const float *known, float *to,
                         size_t size, const int n) {
  vec v[BATCH], a[BATCH];
  EACH(j, n) vec_fetch_far(&x->v, x->value + (s + LINE_CHUNK + (size_t)j) * x->value_step);
  line_terms(x, s, state, top, known, TERM, v, a, n);
  EACH(j, n) vec_store_aligned(to + (size_t)j * size, v[j]);
  if (size != TERM) return;
  EACH(j, n) vec_store_aligned(to + (size_t)j * size + LANES, a[j]);
}

/* The terms of sources s..end-1 of vector g, the first one number i of the chunk's. */
static void line_keep(line_strip *p, size_t g, size_t i, size_t s, size_t end) {
  line_sources x = line_sources_of(p, g);
  const line_state *state = &p->state[g];
  size_t size = p->size[g];
  float *to = p->place[g] + i * size;
  const float *known = line_leads(p, g) ? NULL : p->place[p->lead[g]] + i * TERM + LANES;
  vec top = state->top;
  for (; s + BATCH <= end; s += BATCH, to += BATCH * size) {
    line_keep_terms(&x, s, state, &top, known, to, size, BATCH);
    if (known != NULL) known += BATCH * TERM;
  }
  for (; s < end; s++, to += size) {
    line_keep_terms(&x, s, state, &top, known, to, size, 1);
    if (known != NULL) known += TERM;
  }
  p->state[g].top = top;
}

/* Takes the kept terms and sums of vector g to a larger key. */
static void line_raise(line_strip *p, size_t g, vec key) {
  const line_simd *job = p->job;
  line_state *s = &p->state[g];
  vec scale = vec_exp(s->key - key);
  float *terms = p->place[g];
  for (size_t i = 0; i < (job->cap - LINE_CHUNK) * p->size[g]; i += LANES) {
    vec_store_aligned(terms + i, vec_aligned(terms + i) * scale);
  }
  s->num *= scale;
  s->den *= scale;
  s->num_lost *= scale;
  s->den_lost *= scale;
  s->key = key;
}

/* Makes room for the terms of the chunk from c0 on after those that are kept. */
static void line_slide(line_strip *p, size_t g, size_t c0) {
  const line_simd *job = p->job;
  size_t size = p->size[g], kept = job->cap - LINE_CHUNK, end = aft_min(job->t, c0 + LINE_CHUNK + job->right);
  float *first = p->terms + g * job->room * TERM;
  if (c0 == 0) {
    p->place[g] = first;
    memset(first, 0, job->cap * size * sizeof(float)); /* before the sequence, and after it */
    return;
  }
  p->place[g] += LINE_CHUNK * size;
  if (p->place[g] + job->cap * size > first + job->room * size) {
    memmove(first, p->place[g], kept * size * sizeof(float));
    p->place[g] = first;
  }
  if (end < c0 + LINE_CHUNK + job->right) memset(p->place[g] + kept * size, 0, LINE_CHUNK * size * sizeof(float));
}

/* Makes the terms that the windows of the chunk from c0 on need and that are not there yet. */
static void line_fill(line_strip *p, size_t c0) {
  const line_simd *job = p->job;
  size_t end = aft_min(job->t, c0 + LINE_CHUNK + job->right);
  for (size_t g = 0; g < p->n; g++) {
    line_state *s = &p->state[g];
    line_slide(p, g, c0);
    s->chunk_key = s->key;
    s->chunk_num = s->num;
    s->chunk_den = s->den;
  }
  if (job->causal) {
    vec largest[LINE_GROUPS];
    for (size_t g = 0; g < p->n; g++) largest[g] = vec_of(-INFINITY);
    line_largest(p, p->filled, end, largest);
    for (size_t g = 0; g < p->n; g++) {
      vec_bits raise = largest[g] > p->state[g].key + vec_of(AFT_RAISE);
      if (vec_any(raise)) line_raise(p, g, vec_pick(raise, largest[g], p->state[g].key));
    }
  }
  for (size_t g = 0; g < p->n; g++) line_keep(p, g, p->filled + job->w.left - c0, p->filled, end);
  p->filled = end;
}

#endif
