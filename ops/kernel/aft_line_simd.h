/* AFTLocal, and AFTConv1D where the channels of a vector share a head: a window that slides along a sequence.
 *
 * A tile is ROWS positions. The sources from the first one's window to the end of the last one's are weighed for all of
 * them in one product: exp(bias) inside a position's own window, exp(0) where the window has passed or not yet come, 0 in
 * a causal future. What lies before comes as a running sum, what lies after as a sum made beforehand. Nothing is ever
 * subtracted.
 *
 * The terms of LINE_CHUNK positions and their windows are kept at a time. Not causal, their key is the largest of all,
 * which every position sees. Causal, it is raised chunk by chunk: a position that cannot see the chunk's largest key may be
 * left with sums too small to trust, and is computed from the running sum as it was before the raise and the logits
 * since: O(taps + LINE_CHUNK). */
#include "aft_exact_simd.h"
#include "aft_tile_simd.h"
#include "aft_window.h"

enum {
  LINE_CHUNK = 24, /* a multiple of every ROWS */
  LINE_TILES = LINE_CHUNK / ROWS,
  LINE_GROUPS = 256 / LANES, /* vectors of channels in a task */
  LINE_AHEAD = 8             /* rows between what is read and what is fetched */
};

/* The weights of a tile: ROWS floats for each of its sources, then exp(0 - shift) of its rows, then their shifts, NaN where
 * a bias is NaN or +Inf. */
typedef struct {
  aft_packed head;
  size_t left, taps, rows;
  float *weights;
} line_packed;

typedef struct {
  const aft_fast *f;
  aft_window w;
  size_t t, d, groups, strips, chunks;
  size_t right;  /* sources of a window after its position */
  size_t length; /* sources of a tile's windows */
  size_t cap;    /* sources of a chunk's windows */
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

typedef struct {
  const line_simd *job;
  size_t batch, first, n; /* vectors first..first+n-1 */
  size_t filled;          /* sources whose terms have been made */
  float *terms;           /* (n, cap, TERM) from source chunk - left on */
  float *suffix;          /* (chunks, n, TERM) sums after the chunk's windows; not when causal */
  float *weights;         /* of the chunk's tiles, or of the strip's heads */
  size_t head[LINE_GROUPS];
  line_state state[LINE_GROUPS];
  float *keys; /* (cap, LANES) half of K of one vector in the chunk's windows, for the exact path */
  size_t keys_vector, keys_chunk; /* of which vector and chunk; NO_KEYS: of none */
} line_strip;

#define NO_KEYS SIZE_MAX

static size_t line_weights(size_t length) { return (length + 2) * ROWS; }

static size_t line_lanes(const line_simd *job, size_t g) { return aft_min(LANES, job->d - g * LANES); }

/* The head of vector g; AFTLocal has one. */
static size_t line_head(const line_simd *job, size_t g) {
  size_t heads = (size_t)job->f->call->in[1].dims[2];
  return job->w.w_head == 0 ? 0 : g * LANES / (job->d / heads);
}

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
  for (size_t i = 0; i < b0 + r; i++) column[i * ROWS] = outside;
  for (size_t b = b0; b < b1; b += LANES) {
    size_t n = aft_min(LANES, b1 - b);
    vec e = vec_exp(vec_read(w, at + b - b0, n) - vec_of(shift));
    for (size_t j = 0; j < n; j++) column[(b + j + r) * ROWS] = odd ? 0 : e[j];
  }
  for (size_t i = b1 + r; i < length; i++) column[i * ROWS] = causal ? 0 : outside;
  column[length * ROWS] = outside;
  column[(length + 1) * ROWS] = odd ? NAN : shift;
}

/* AFTLocal: tile t0 / ROWS of `rows` positions; `first` is the element of W that holds tap 0 of position 0. */
static void line_pack_band(const aft_tensor *w, size_t first, size_t step, size_t rows, size_t left, size_t taps,
                           int causal, size_t t0, float *weights) {
  size_t length = taps + ROWS - 1;
  for (size_t r = 0; r < ROWS; r++) {
    size_t t = t0 + r, b0 = t < left ? left - t : 0;
    if (t >= rows) { /* past the sequence: sums that nothing reads */
      for (size_t i = 0; i < length + 2; i++) weights[i * ROWS + r] = 0;
      continue;
    }
    line_pack_row(w, length, causal, r, first + t * step + b0, b0, aft_min(taps, rows - t + left), weights);
  }
}

static int simd_local_pack(const aft_attrs *attrs, const aft_tensor *w, aft_packed **out) {
  size_t rows = (size_t)w->dims[0], taps = (size_t)w->dims[1], left = (size_t)attrs->window - 1, at = 0;
  size_t tiles = aft_div_up(rows, ROWS), each = line_weights(taps + ROWS - 1);
  int causal = attrs->causal == 1;
  if (attrs->window < 1 || left >= taps || (causal && left + 1 != taps)) return AFT_OK; /* aft_check will say so */
  (void)aft_room(&at, aft_div_up(sizeof(line_packed), sizeof(float)));
  size_t weights = aft_room(&at, aft_mul(tiles, each));
  float *memory = at > PTRDIFF_MAX / sizeof(float) ? NULL : aligned_alloc(AFT_LINE, at * sizeof(float));
  if (memory == NULL) return AFT_NO_MEMORY;
  line_packed *packed = (line_packed *)(void *)memory;
  *packed = (line_packed){.left = left, .taps = taps, .rows = rows, .weights = memory + weights};
  for (size_t i = 0; i < tiles; i++) {
    line_pack_band(w, 0, taps, rows, left, taps, causal, i * ROWS, packed->weights + i * each);
  }
  *out = &packed->head;
  return AFT_OK;
}

/* Whether the tile at t0 has packed weights: not where its windows reach past the end of a sequence shorter than W. */
static int line_is_packed(const line_simd *job, size_t t0) {
  if (job->packed == NULL) return 0;
  return job->causal || job->t == job->packed->rows || t0 + ROWS + job->right <= job->t;
}

/* The weights of tile i of the chunk from position c0 on, for vector g. */
static const float *line_weights_of(const line_strip *p, size_t g, size_t c0, size_t i) {
  const line_simd *job = p->job;
  size_t each = line_weights(job->length);
  if (job->w.w_head != 0) return p->weights + (p->head[g] - p->head[0]) * each;
  return line_is_packed(job, c0 + i * ROWS) ? job->packed->weights + (c0 / ROWS + i) * each : p->weights + i * each;
}

static void line_pack_chunk(const line_strip *p, size_t c0) {
  const line_simd *job = p->job;
  for (size_t i = 0; i < LINE_TILES && c0 + i * ROWS < job->t; i++) {
    if (line_is_packed(job, c0 + i * ROWS)) continue;
    line_pack_band(&job->f->call->in[3], job->w.w_first, job->w.w_position, job->t, job->w.left, job->w.kernel_cols,
                   job->causal, c0 + i * ROWS, p->weights + i * line_weights(job->length));
  }
}

static void line_pack_heads(const line_strip *p) {
  const line_simd *job = p->job;
  size_t first = p->head[0];
  for (size_t h = first; h <= p->head[p->n - 1]; h++) {
    for (size_t r = 0; r < ROWS; r++) {
      line_pack_row(&job->f->call->in[3], job->length, job->causal, r, job->w.w_first + h * job->w.w_head, 0,
                    job->w.kernel_cols, p->weights + (h - first) * line_weights(job->length));
    }
  }
}

/* ---- terms --------------------------------------------------------------------------------------------------------- */

/* K of source s for vector g of the strip; `fresh` is 0 where it is that of the vector before. */
VEC vec line_key(const line_strip *p, size_t s, size_t g, int *fresh) {
  const line_simd *job = p->job;
  const aft_tensor *k = &job->f->call->in[1];
  size_t row = p->batch * job->t + s;
  *fresh = 1;
  if (job->w.w_head == 0) return vec_read(k, row * job->d + (p->first + g) * LANES, line_lanes(job, p->first + g));
  *fresh = g == 0 || p->head[g] != p->head[g - 1];
  return vec_read_one(k, row * (size_t)k->dims[2] + p->head[g]);
}

static void line_fetch(const line_strip *p, size_t s, int values) {
  const line_simd *job = p->job;
  size_t at = (p->batch * job->t + s + LINE_AHEAD) * job->d + p->first * LANES;
  for (size_t i = 0; i < p->n * LANES; i += AFT_LINE / sizeof(float)) {
    if (job->w.w_head == 0) vec_fetch(&job->f->call->in[1], at + i);
    if (values) vec_fetch(&job->f->call->in[2], at + i);
  }
}

/* largest[g] = max(largest[g], the keys of sources lo..hi-1). */
static void line_largest(const line_strip *p, size_t lo, size_t hi, vec *largest) {
  int fresh;
  for (size_t s = lo; s < hi; s++) {
    line_fetch(p, s, 0);
    for (size_t g = 0; g < p->n; g++) largest[g] = vec_max(line_key(p, s, g, &fresh), largest[g]);
  }
}

/* aV and a of source s for `count` vectors of the strip from g on. Vectors of one head have one a: `last` is that of the
 * vector before g. */
VEC void line_terms(line_strip *p, size_t s, size_t g, vec *last, vec *v, vec *a, const int count) {
  const line_simd *job = p->job;
  size_t row = (p->batch * job->t + s) * job->d + (p->first + g) * LANES;
  vec k[BATCH];
  int fresh[BATCH];
  EACH(j, count) k[j] = line_key(p, s, g + (size_t)j, &fresh[j]);
  EACH(j, count) v[j] = vec_read(&job->f->call->in[2], row + (size_t)j * LANES, line_lanes(job, p->first + g + (size_t)j));
  EACH(j, count) v[j] = (vec)((vec_bits)v[j] & ~(k[j] == vec_of(-INFINITY))) * p->state[g + (size_t)j].down;
  EACH(j, count) p->state[g + (size_t)j].top = vec_max(vec_magnitude(v[j]), p->state[g + (size_t)j].top);
  EACH(j, count) a[j] = k[j] - p->state[g + (size_t)j].key;
  if (job->w.w_head == 0) {
    vec_exps(a, count);
  } else {
    for (int j = 0; j < count; j++) {
      if (fresh[j]) *last = vec_exp(a[j]);
      a[j] = *last;
    }
  }
  EACH(j, count) v[j] *= a[j];
}

VEC void line_sum_terms(line_strip *p, size_t s, size_t g, vec *last, vec *num, vec *den, const int count) {
  vec v[BATCH], a[BATCH];
  line_terms(p, s, g, last, v, a, count);
  EACH(j, count) num[j] += v[j];
  EACH(j, count) den[j] += a[j];
}

/* Keeps the terms of source s, for vector g + j from `at` + j * step on. */
VEC void line_keep_terms(line_strip *p, size_t s, size_t g, vec *last, float *at, size_t step, const int count) {
  vec v[BATCH], a[BATCH];
  line_terms(p, s, g, last, v, a, count);
  EACH(j, count) vec_store_aligned(at + (size_t)j * step, v[j]);
  EACH(j, count) vec_store_aligned(at + (size_t)j * step + LANES, a[j]);
}

/* Sums after the windows of every chunk, last chunk first. */
static void line_suffixes(line_strip *p) {
  const line_simd *job = p->job;
  vec num[LINE_GROUPS], den[LINE_GROUPS], all[LINE_GROUPS][2], lost[LINE_GROUPS][2];
  size_t done = job->t;
  memset(all, 0, sizeof all);
  memset(lost, 0, sizeof lost);
  for (size_t c = job->chunks; c-- > 0;) {
    size_t lo = aft_min(job->t, (c + 1) * LINE_CHUNK + job->right);
    for (size_t g = 0; g < p->n; g++) num[g] = den[g] = vec_of(0);
    for (size_t s = lo; s < done; s++) {
      size_t g = 0;
      vec last = vec_of(0);
      line_fetch(p, s, 1);
      for (; g + BATCH <= p->n; g += BATCH) line_sum_terms(p, s, g, &last, num + g, den + g, BATCH);
      for (; g < p->n; g++) line_sum_terms(p, s, g, &last, num + g, den + g, 1);
    }
    for (size_t g = 0; g < p->n; g++) {
      float *suffix = p->suffix + (c * p->n + g) * TERM;
      vec_add(&all[g][0], &lost[g][0], num[g]);
      vec_add(&all[g][1], &lost[g][1], den[g]);
      vec_store_aligned(suffix, all[g][0]);
      vec_store_aligned(suffix + LANES, all[g][1]);
    }
    done = lo;
  }
}

/* Takes the kept terms and sums of vector g to a larger key. */
static void line_raise(line_strip *p, size_t g, vec key) {
  const line_simd *job = p->job;
  line_state *s = &p->state[g];
  vec scale = vec_exp(s->key - key);
  float *terms = p->terms + g * job->cap * TERM;
  for (size_t i = 0; i < (job->cap - LINE_CHUNK) * TERM; i += LANES) {
    vec_store_aligned(terms + i, vec_aligned(terms + i) * scale);
  }
  s->num *= scale;
  s->den *= scale;
  s->num_lost *= scale;
  s->den_lost *= scale;
  s->key = key;
}

/* Makes the terms that the windows of the chunk from c0 on need and that are not there yet. */
static void line_fill(line_strip *p, size_t c0) {
  const line_simd *job = p->job;
  size_t end = aft_min(job->t, c0 + LINE_CHUNK + job->right), from = c0 + LINE_CHUNK + job->right;
  for (size_t g = 0; g < p->n; g++) {
    float *terms = p->terms + g * job->cap * TERM;
    if (c0 > 0) memmove(terms, terms + LINE_CHUNK * TERM, (job->cap - LINE_CHUNK) * TERM * sizeof(float));
    size_t empty = c0 == 0 ? 0 : job->cap - LINE_CHUNK; /* before the sequence, and after it */
    if (c0 == 0 || end < from) memset(terms + empty * TERM, 0, (job->cap - empty) * TERM * sizeof(float));
    line_state *s = &p->state[g];
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
  for (size_t s = p->filled; s < end; s++) {
    float *at = p->terms + (s + job->w.left - c0) * TERM;
    size_t g = 0, step = job->cap * TERM;
    vec last = vec_of(0);
    line_fetch(p, s, 1);
    for (; g + BATCH <= p->n; g += BATCH) line_keep_terms(p, s, g, &last, at + g * step, step, BATCH);
    for (; g < p->n; g++) line_keep_terms(p, s, g, &last, at + g * step, step, 1);
  }
  p->filled = end;
}

/* ---- exact path ---------------------------------------------------------------------------------------------------- */

/* A position and a vector of channels that need it. */
typedef struct {
  line_strip *p;
  size_t g, t;
} line_at;

/* Half of K of the sources of the chunk's windows: rows are far apart, and many positions look at the same ones. */
static const vec *line_keys(line_strip *p, size_t g, size_t c0) {
  const line_simd *job = p->job;
  size_t lo = c0 > job->w.left ? c0 - job->w.left : 0, hi = aft_min(job->t, c0 + LINE_CHUNK + job->right);
  int fresh;
  if (p->keys_vector != g || p->keys_chunk != c0) {
    for (size_t s = lo; s < hi; s++) {
      vec_store_aligned(p->keys + (s + job->w.left - c0) * LANES, vec_of(0.5f) * line_key(p, s, g, &fresh));
    }
  }
  p->keys_vector = g;
  p->keys_chunk = c0;
  return (const vec *)(const void *)p->keys;
}

/* Half of the biases of a position for sources from..from+n-1; `to` has room for a vector more. */
static void line_half_biases(const line_at *at, size_t from, size_t n, float *to) {
  const aft_window *w = &at->p->job->w;
  size_t bias = w->w_first + at->t * w->w_position + at->p->head[at->g] * w->w_head;
  size_t first = at->t > w->left ? at->t - w->left : 0, end = at->t + w->kernel_cols - w->left, i = 0;
  for (; i < n && from + i < first; i++) to[i] = 0;
  for (; i < n && from + i < end; i += LANES) {
    size_t some = aft_min(LANES, aft_min(n - i, end - from - i));
    vec_store(to + i, vec_of(0.5f) * vec_read(&w->call->in[3], bias + (from + i + w->left - at->t), some));
  }
  for (i = end > from ? aft_min(end - from, n) : 0; i < n; i++) to[i] = 0;
}

/* Adds sources lo..hi-1 of the chunk's windows; keys as line_keys gives them from source chunk - left on, NULL where the
 * sources may be any. */
static void line_exact_sources(const line_at *at, const vec *keys, size_t c0, size_t lo, size_t hi, exact_sums *sums) {
  line_strip *p = at->p;
  const line_simd *job = p->job;
  size_t g = p->first + at->g;
  int fresh;
  while (hi > lo) {
    size_t n = aft_min(EXACT_CHUNK, hi - lo), from = hi - n;
    vec some[EXACT_CHUNK], num = vec_of(0), den = vec_of(0);
    const vec *k = keys != NULL ? keys + (from + job->w.left - c0) : some;
    float w[EXACT_CHUNK + LANES];
    for (size_t i = 0; i < n && keys == NULL; i++) some[i] = vec_of(0.5f) * line_key(p, from + i, at->g, &fresh);
    line_half_biases(at, from, n, w);
    if (exact_reaches(sums, k, (exact_bias){w, 0}, n)) {
      for (size_t i = 0; i < n; i++) {
        if (!exact_counts(sums, k[i], vec_of(w[i]))) continue;
        size_t row = p->batch * job->t + from + i;
        vec v = vec_read(&job->f->call->in[2], row * job->d + g * LANES, line_lanes(job, g)) * p->state[at->g].down;
        exact_term(sums, k[i], vec_of(w[i]), v, &num, &den);
      }
      vec_add(&sums->num, &sums->num_lost, num);
      vec_add(&sums->den, &sums->den_lost, den);
    }
    hi = from;
  }
}

/* The chunk's own sources first, then the window before it unless it cannot count: a key before the chunk is at most
 * AFT_RAISE above the one of the running sum. Last, from all sources, where the running sum was too small. */
static __attribute__((noinline)) void line_exact(const line_at *at, size_t c0, float shift, vec *num, vec *den) {
  const line_simd *job = at->p->job;
  const line_state *state = &at->p->state[at->g];
  exact_sums s = exact_empty();
  vec_bits bad = {0};
  bad = ~bad;
  *num = vec_of(0);
  *den = vec_of(1);
  if (job->causal) {
    s.num = state->chunk_num;
    s.den = state->chunk_den;
    s.top.hi = vec_of(0.5f) * state->chunk_key;
    const vec *keys = line_keys(at->p, at->g, c0);
    line_exact_sources(at, keys, c0, c0, at->t + 1, &s);
    vec reach = vec_of(0.5f) * state->chunk_key + vec_of(0.5f * (shift + AFT_RAISE - EXACT_FAR));
    if (vec_any(~(s.top.hi > reach))) {
      line_exact_sources(at, keys, c0, c0 > job->w.left ? c0 - job->w.left : 0, c0, &s);
    }
    bad = ~(s.den >= vec_of(job->tiny));
    *num = s.num;
    *den = s.den;
  }
  if (!vec_any(bad)) return;
  s = exact_empty();
  line_exact_sources(at, NULL, c0, 0, job->causal ? at->t + 1 : job->t, &s);
  *num = vec_pick(bad, s.num, *num);
  *den = vec_pick(bad, vec_max(vec_of(0x1p-126f), s.den), *den);
}

/* ---- positions ----------------------------------------------------------------------------------------------------- */

/* Positions t.. of a tile whose sums cannot all be trusted: replaces those that cannot. Marks positions whose Y is done. */
static __attribute__((noinline)) void line_repair(line_strip *p, size_t g, size_t c0, size_t t, size_t rows,
                                                  const float *shifts, vec *num, vec *den, unsigned char *done) {
  const line_simd *job = p->job;
  for (size_t r = 0; r < rows; r++) {
    vec_bits bad = ~(den[r] >= vec_of(job->tiny));
    done[r] = vec_any(bad) && isnan(shifts[r]);
    if (done[r]) {
      for (size_t l = 0; l < line_lanes(job, p->first + g); l++) {
        aft_window_exact(&job->w, p->batch, t + r, (p->first + g) * LANES + l);
      }
    }
    if (!vec_any(bad) || done[r]) continue;
    vec exact_num, exact_den;
    line_at at = {p, g, t + r};
    line_exact(&at, c0, shifts[r], &exact_num, &exact_den);
    num[r] = vec_pick(bad, exact_num, num[r]);
    den[r] = vec_pick(bad, exact_den, den[r]);
  }
}

/* Y of `rows` positions of a tile from their finished sums. */
VEC void line_finish(line_strip *p, size_t g, size_t c0, size_t t, size_t rows, const float *shifts, const float *sums) {
  const line_simd *job = p->job;
  const aft_fast *f = job->f;
  size_t i = (p->batch * job->t + t) * job->d + (p->first + g) * LANES, lanes = line_lanes(job, p->first + g);
  vec num[ROWS], den[ROWS], up[ROWS], least = vec_of(FLT_MAX);
  for (size_t r = 0; r < rows; r++) {
    num[r] = vec_aligned(sums + r * TERM);
    den[r] = vec_aligned(sums + r * TERM + LANES);
    up[r] = p->state[g].up;
    least = vec_pick(den[r] >= least, least, den[r]); /* NaN is least */
  }
  if (__builtin_expect(vec_any(~(least >= vec_of(job->tiny))), 0)) {
    unsigned char done[ROWS];
    line_repair(p, g, c0, t, rows, shifts, num, den, done);
    for (size_t r = 0; r < rows; r++) {
      if (!done[r]) vec_finish_some(f->call, f->out, i + r * job->d, 0, num + r, den + r, up + r, lanes, 1);
    }
    return;
  }
  vec_finish_many(f->call, f->out, i, job->d, num, den, up, lanes, rows);
}

/* Adds the terms of `rows` sources to the running sums. */
VEC void line_leave(line_state *s, const float *terms, size_t rows) {
  vec num = vec_of(0), den = vec_of(0);
  for (size_t i = 0; i < rows; i++) {
    num += vec_aligned(terms + i * TERM);
    den += vec_aligned(terms + i * TERM + LANES);
  }
  vec_add(&s->num, &s->num_lost, num);
  vec_add(&s->den, &s->den_lost, den);
}

/* What lies after the windows of each tile of the chunk. */
static void line_after(const line_strip *p, size_t g, size_t c0, vec *num, vec *den) {
  const line_simd *job = p->job;
  const float *suffix = p->suffix + (c0 / LINE_CHUNK * p->n + g) * TERM;
  const float *end = p->terms + (g + 1) * job->cap * TERM;
  num[LINE_TILES - 1] = vec_aligned(suffix);
  den[LINE_TILES - 1] = vec_aligned(suffix + LANES);
  for (size_t i = LINE_TILES - 1; i-- > 0;) {
    vec some_num = vec_of(0), some_den = vec_of(0);
    for (size_t r = 0; r < ROWS; r++) {
      end -= TERM;
      some_num += vec_aligned(end);
      some_den += vec_aligned(end + LANES);
    }
    num[i] = num[i + 1] + some_num;
    den[i] = den[i + 1] + some_den;
  }
}

static void line_tiles(line_strip *p, size_t g, size_t c0) {
  const line_simd *job = p->job;
  line_state *s = &p->state[g];
  const float *terms = p->terms + g * job->cap * TERM;
  vec after_num[LINE_TILES], after_den[LINE_TILES];
  if (!job->causal) line_after(p, g, c0, after_num, after_den);
  for (size_t i = 0; i < LINE_TILES && c0 + i * ROWS < job->t; i++) {
    const float *weights = line_weights_of(p, g, c0, i), *rest = weights + job->length * ROWS;
    vec num = job->causal ? s->num : s->num + after_num[i], den = job->causal ? s->den : s->den + after_den[i];
    _Alignas(64) float sums[TILE];
    EACH_ROW(r) {
      vec_store_aligned(sums + r * TERM, vec_of(rest[r]) * num);
      vec_store_aligned(sums + r * TERM + LANES, vec_of(rest[r]) * den);
    }
    tile_product(sums, weights, terms + i * ROWS * TERM, job->length);
    size_t t = c0 + i * ROWS;
    line_finish(p, g, c0, t, aft_min(ROWS, job->t - t), rest + ROWS, sums);
    line_leave(s, terms + i * ROWS * TERM, ROWS);
  }
}

static void line_sweep(line_strip *p) {
  const line_simd *job = p->job;
  vec largest[LINE_GROUPS];
  for (size_t g = 0; g < p->n; g++) {
    line_state *s = &p->state[g];
    s->num = s->den = s->num_lost = s->den_lost = s->top = vec_of(0);
    s->key = largest[g] = vec_of(-FLT_MAX);
  }
  p->filled = 0;
  if (!job->causal) {
    line_largest(p, 0, job->t, largest);
    for (size_t g = 0; g < p->n; g++) p->state[g].key = largest[g];
    line_suffixes(p);
  }
  for (size_t c0 = 0; c0 < job->t; c0 += LINE_CHUNK) {
    line_fill(p, c0);
    if (job->w.w_head == 0) line_pack_chunk(p, c0);
    for (size_t g = 0; g < p->n; g++) line_tiles(p, g, c0);
  }
}

/* Sums over all sources: what the windows have left, and what is still kept. */
static int line_judge(line_strip *p, int scaled) {
  const line_simd *job = p->job;
  size_t last = (job->t - 1) / LINE_CHUNK * LINE_CHUNK, gone = aft_div_up(job->t - last, ROWS) * ROWS;
  int again = 0;
  for (size_t g = 0; g < p->n; g++) {
    line_state *s = &p->state[g];
    line_leave(s, p->terms + (g * job->cap + gone) * TERM, job->cap - gone);
    for (size_t l = 0; l < line_lanes(job, p->first + g); l++) {
      float down = s->down[l], up = s->up[l];
      again |= vec_judge(s->num[l], s->den[l], s->top[l], scaled, &down, &up,
                         &job->f->odd[p->batch * job->d + (p->first + g) * LANES + l]);
      s->down[l] = down;
      s->up[l] = up;
    }
  }
  return again;
}

static void line_task(void *arg, size_t i, double *scratch) {
  const line_simd *job = arg;
  line_strip p = {.job = job, .batch = i / job->strips, .first = i % job->strips * LINE_GROUPS};
  size_t at = 0;
  p.n = aft_min(LINE_GROUPS, job->groups - p.first);
  float *floats = aft_line(scratch);
  p.terms = floats + aft_room(&at, p.n * job->cap * TERM);
  p.suffix = floats + aft_room(&at, job->causal ? 0 : job->chunks * p.n * TERM);
  p.keys = floats + aft_room(&at, job->cap * LANES);
  p.keys_vector = p.keys_chunk = NO_KEYS;
  p.weights = floats + at;
  for (size_t g = 0; g < p.n; g++) {
    p.state[g].down = p.state[g].up = vec_of(1);
    p.head[g] = line_head(job, p.first + g);
  }
  if (job->w.w_head != 0) line_pack_heads(&p);
  line_sweep(&p);
  if (!line_judge(&p, 0)) return;
  line_sweep(&p);
  (void)line_judge(&p, 1);
}

/* Runs a window of one row. */
static int line_run(const aft_fast *f, aft_window window) {
  const aft_call *call = f->call;
  line_simd job = {.f = f, .w = window, .causal = call->attrs.causal == 1};
  const line_packed *packed = (const line_packed *)(const void *)call->packed;
  size_t left = window.left, taps = window.kernel_cols, at = 0;
  aft_window_cut(&job.w);
  if (packed != NULL && job.w.left == left && job.w.kernel_cols == taps) job.packed = packed;
  job.t = (size_t)call->in[0].dims[1];
  job.d = (size_t)call->in[0].dims[2];
  job.groups = aft_div_up(job.d, LANES);
  job.strips = aft_div_up(job.groups, LINE_GROUPS);
  job.chunks = aft_div_up(job.t, LINE_CHUNK);
  job.right = job.w.kernel_cols - 1 - job.w.left;
  job.length = job.w.kernel_cols + ROWS - 1;
  job.cap = job.w.left + LINE_CHUNK + job.right;
  job.tiny = (float)job.t * AFT_DEN_TINY;
  size_t n = aft_min(LINE_GROUPS, job.groups), heads = aft_min(n, (size_t)call->in[1].dims[2]);
  size_t each = line_weights(job.length);
  (void)aft_room(&at, aft_mul(n, aft_mul(job.cap, TERM)));
  if (!job.causal) (void)aft_room(&at, aft_mul(job.chunks, n * TERM));
  (void)aft_room(&at, aft_mul(job.cap, LANES));
  (void)aft_room(&at, aft_mul(job.w.w_head != 0 ? heads : LINE_TILES, each));
  return aft_tasks(f->host, line_task, &job, (size_t)call->in[0].dims[0] * job.strips, aft_doubles(at));
}

static int simd_local(const aft_fast *f) { return line_run(f, aft_local_window(f->call, f->out)); }

static int simd_conv1d(const aft_fast *f) { return line_run(f, aft_conv1d_window(f->call, f->out)); }

static int simd_conv1d_fits(const aft_call *call) {
  size_t heads = (size_t)call->in[1].dims[2], dim = (size_t)call->in[2].dims[2];
  return heads == 1 || dim / heads % LANES == 0;
}
