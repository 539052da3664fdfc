/* AFTLocal, and AFTConv1D where the channels of a vector share a head: a window that slides along a sequence.
 *
 * A tile is LINE_TILE positions. The sources from the first one's window to the end of the last one's are weighed for all of
 * them in one product: exp(bias) inside a position's own window, exp(0) where the window has passed or not yet come, 0 in
 * a causal future. What lies before comes as a running sum, what lies after as a sum made beforehand. Nothing is ever
 * subtracted.
 *
 * The terms of LINE_CHUNK positions and their windows are kept at a time. Not causal, their key is the largest of all,
 * which every position sees. Causal, it is raised chunk by chunk: a position that cannot see the chunk's largest key may be
 * left with sums too small to trust, and is computed from the running sum as it was before the raise and the logits
 * since: O(taps + LINE_CHUNK). */
#include "aft_line_terms_simd.h"

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
  if (p->keys_vector != g || p->keys_chunk != c0) {
    for (size_t s = lo; s < hi; s++) {
      vec_store_aligned(p->keys + (s + job->w.left - c0) * LANES, vec_of(0.5f) * line_key(p, s, g));
    }
    for (size_t s = hi; s < c0 + LINE_CHUNK; s++) vec_store_aligned(p->keys + (s + job->w.left - c0) * LANES, vec_of(0));
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

/* Half of the biases of a position for the sources of its chunk: many vectors need the same ones. */
static const float *line_chunk_biases(const line_at *at, size_t c0) {
  line_strip *p = at->p;
  if (p->biases_head != p->head[at->g] || p->biases_chunk != c0) {
    for (size_t r = 0; r < aft_min(LINE_CHUNK, p->job->t - c0); r++) {
      float *row = p->biases + r * LINE_ROW;
      line_half_biases(&(line_at){p, at->g, c0 + r}, c0, r + 1, row);
      for (size_t i = r + 1; i < LINE_CHUNK; i++) row[i] = -INFINITY;
    }
  }
  p->biases_head = p->head[at->g];
  p->biases_chunk = c0;
  return p->biases + (at->t - c0) * LINE_ROW;
}

typedef struct {
  const line_at *at;
  size_t from;
} line_exact_from;

VEC vec line_exact_value(const void *arg, size_t i, vec k) {
  const line_exact_from *f = arg;
  const line_strip *p = f->at->p;
  const line_simd *job = p->job;
  size_t g = p->first + f->at->g, row = p->batch * job->t + aft_min(f->from + i, job->t - 1);
  (void)k;
  return vec_read(&job->f->call->in[2], row * job->d + g * LANES, line_lanes(job, g)) * p->state[f->at->g].down;
}

/* Adds sources lo..hi-1 of the chunk's windows; keys as line_keys gives them from source chunk - left on, NULL where the
 * sources may be any. */
static void line_exact_sources(const line_at *at, const vec *keys, size_t c0, size_t lo, size_t hi, exact_sums *sums) {
  line_strip *p = at->p;
  while (hi > lo) {
    size_t n = aft_min(EXACT_CHUNK, hi - lo), from = hi - n;
    vec some[EXACT_CHUNK];
    const vec *k = keys != NULL ? keys + (from + p->job->w.left - c0) : some;
    float w[EXACT_CHUNK + LANES];
    for (size_t i = 0; i < n && keys == NULL; i++) some[i] = vec_of(0.5f) * line_key(p, from + i, at->g);
    line_half_biases(at, from, n, w);
    exact_add(sums, k, (exact_bias){w, 0}, n, line_exact_value, &(line_exact_from){at, from});
    hi = from;
  }
}

/* AFTConv1D: the logits of a position and their weights, over those of the running sums or the largest, if that is larger. */
static void line_weigh(const line_at *at, size_t c0, line_logits *to) {
  const line_strip *p = at->p;
  const float *w = line_chunk_biases(at, c0);
  float hi[LINE_CHUNK], lo[LINE_CHUNK], before = 0.5f * p->state[at->g].chunk_key[0];
  *to = (line_logits){.head = p->head[at->g], .t = at->t, .hi = before};
  for (size_t i = 0; i < LINE_CHUNK; i++) {
    float k = c0 + i <= at->t ? 0.5f * line_key(p, c0 + i, at->g)[0] : 0;
    hi[i] = k + w[i];
    float part = hi[i] - k;
    lo[i] = (k - (hi[i] - part)) + (w[i] - part);
    if (hi[i] > to->hi || (hi[i] == to->hi && lo[i] > to->lo)) {
      to->hi = hi[i];
      to->lo = lo[i];
    }
  }
  _Alignas(64) float x[LINE_CHUNK + LANES] = {0};
  for (size_t i = 0; i < LINE_CHUNK; i++) {
    float logit = 2 * ((hi[i] - to->hi) + (lo[i] - to->lo));
    x[i] = hi[i] == -INFINITY || logit < EXACT_NONE ? -INFINITY : logit;
  }
  x[LINE_CHUNK] = 2 * ((before - to->hi) - to->lo);
  for (size_t i = 0; i <= LINE_CHUNK; i += LANES) vec_store_aligned(x + i, vec_exp(vec_aligned(x + i)));
  to->scale = x[LINE_CHUNK];
  for (size_t i = 0; i < LINE_CHUNK; i++) {
    if (x[i] == 0) continue; /* so it is below EXACT_NONE */
    to->source[to->n] = (unsigned char)i;
    to->e[to->n++] = x[i];
    to->den += x[i];
  }
}

/* AFTConv1D: adds the chunk's sources to its running sums. */
static void line_exact_head(const line_at *at, size_t c0, exact_sums *s) {
  line_logits *l = &at->p->logits[at->t - c0];
  if (l->head != at->p->head[at->g] || l->t != at->t) line_weigh(at, c0, l);
  s->num *= vec_of(l->scale);
  for (size_t i = 0; i < l->n; i++) {
    s->num = vec_madd(vec_of(l->e[i]), line_exact_value(&(line_exact_from){at, c0}, l->source[i], vec_of(0)), s->num);
  }
  s->den = s->den * vec_of(l->scale) + vec_of(l->den);
  s->top = (halves){vec_of(l->hi), vec_of(l->lo)};
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
    s.den = at->p->state[at->p->lead[at->g]].chunk_den;
    s.top.hi = vec_of(0.5f) * state->chunk_key;
    if (job->w.w_head != 0) {
      line_exact_head(at, c0, &s);
    } else {
      exact_bias w = {line_chunk_biases(at, c0), 0};
      size_t n = ((at->t - c0) / BATCH + 1) * BATCH;
      exact_add(&s, line_keys(at->p, at->g, c0) + job->w.left, w, n, line_exact_value, &(line_exact_from){at, c0});
    }
    vec reach = vec_of(0.5f) * state->chunk_key + vec_of(0.5f * (shift + AFT_RAISE - EXACT_FAR));
    if (vec_any(~(s.top.hi > reach))) {
      line_exact_sources(at, line_keys(at->p, at->g, c0), c0, c0 > job->w.left ? c0 - job->w.left : 0, c0, &s);
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
                                                  const float *shifts, float *sums, unsigned char *done) {
  const line_simd *job = p->job;
  for (size_t r = 0; r < rows; r++) {
    vec_bits bad = ~(vec_aligned(sums + r * TERM + LANES) >= vec_of(job->tiny));
    done[r] = vec_any(bad) && isnan(shifts[r]);
    if (done[r]) {
      for (size_t l = 0; l < line_lanes(job, p->first + g); l++) {
        aft_window_exact(&job->w, p->batch, t + r, (p->first + g) * LANES + l);
      }
    }
    if (!vec_any(bad) || done[r]) continue;
    vec num, den;
    line_at at = {p, g, t + r};
    line_exact(&at, c0, shifts[r], &num, &den);
    tile_replace(sums + r * TERM, bad, num, den);
  }
}

/* Y of `rows` positions of a tile from their finished sums. */
VEC void line_finish(line_strip *p, size_t g, size_t c0, size_t t, size_t rows, const float *shifts, float *sums) {
  const line_simd *job = p->job;
  const aft_fast *f = job->f;
  size_t i = (p->batch * job->t + t) * job->d + (p->first + g) * LANES, lanes = line_lanes(job, p->first + g);
  unsigned char done[LINE_TILE];
  if (tile_trusted(sums, rows, job->tiny)) {
    tile_finish(f->call, f->out, i, job->d, sums, p->state[g].up, lanes, rows);
    return;
  }
  line_repair(p, g, c0, t, rows, shifts, sums, done);
  for (size_t r = 0; r < rows; r++) {
    if (!done[r]) tile_finish(f->call, f->out, i + r * job->d, 0, sums + r * TERM, p->state[g].up, lanes, 1);
  }
}

/* The sums of `rows` sources from `terms` on; num alone where those of a source are `size` = LANES floats. */
VEC void line_sum(const float *terms, size_t size, size_t rows, vec *num, vec *den) {
  *num = *den = vec_of(0);
  for (size_t i = 0; i < rows; i++) *num += vec_aligned(terms + i * size);
  for (size_t i = 0; size == TERM && i < rows; i++) *den += vec_aligned(terms + i * size + LANES);
}

/* Adds the terms of `rows` sources, the first one number i of the chunk's, to the running sums of vector g. */
VEC void line_leave(line_strip *p, size_t g, size_t i, size_t rows) {
  line_state *s = &p->state[g];
  vec num, den;
  line_sum(p->place[g] + i * p->size[g], p->size[g], rows, &num, &den);
  vec_add(&s->num, &s->num_lost, num);
  vec_add(&s->den, &s->den_lost, den);
}

/* What lies after the windows of each tile of the chunk. */
static void line_after(const line_strip *p, size_t g, size_t c0, vec *num, vec *den) {
  const line_simd *job = p->job;
  size_t size = p->size[g];
  const float *suffix = p->suffix + (c0 / LINE_CHUNK * p->n + g) * TERM;
  const float *end = p->place[g] + job->cap * size;
  num[LINE_TILES - 1] = vec_aligned(suffix);
  den[LINE_TILES - 1] = vec_aligned(suffix + LANES);
  for (size_t i = LINE_TILES - 1; i-- > 0;) {
    vec some_num = vec_of(0), some_den = vec_of(0);
    for (size_t r = 0; r < LINE_TILE; r++) {
      end -= size;
      some_num += vec_aligned(end);
      if (size == TERM) some_den += vec_aligned(end + LANES);
    }
    num[i] = num[i + 1] + some_num;
    den[i] = den[i + 1] + some_den;
  }
}

/* Asks for element `at` of LINE_TILE positions, and what shares its line. */
VEC void line_fetch_rows(const line_simd *job, const aft_tensor *x, size_t at) {
  uintptr_t p = (uintptr_t)vec_place(x, at), step = job->d * (x->dtype == AFT_FLOAT ? sizeof(float) : sizeof(uint16_t));
  EACH(r, LINE_TILE) {
    __builtin_prefetch((const void *)p, 0, 2);
    p += step;
  }
}

/* AFTConv1D: asks for what tile i of the next chunk needs of vector g, a part of it beside every product: its products are
 * short, and memory answers slowly where all is asked for at once. */
VEC void line_fetch_next(const line_strip *p, size_t g, size_t c0, size_t i) {
  const line_simd *job = p->job;
  const aft_call *call = job->f->call;
  aft_tensor out = {.dtype = call->in[0].dtype, .data = job->f->out};
  size_t at = (p->batch * job->t + c0 + LINE_CHUNK + i * LINE_TILE) * job->d + (p->first + g) * LANES;
  line_fetch_rows(job, &call->in[0], at);
  line_fetch_rows(job, &out, at);
}

static __attribute__((noinline)) void line_product(float *sums, const float *weights, const float *terms, size_t n) {
  tile_product_of(sums, weights, terms, n, (tile_ahead){0}, LINE_TILE);
}

static __attribute__((noinline)) void line_product_num(float *sums, const float *weights, const float *terms, size_t n) {
  tile_product_num(sums, weights, terms, n, LINE_TILE);
}

/* The sums of tile i of the chunk for vector g, over [num | den] of what lies outside its windows. */
VEC void line_tile_sums(line_strip *p, size_t g, size_t i, const float *weights, vec num, vec den, float *sums) {
  const line_simd *job = p->job;
  const float *terms = p->place[g] + i * LINE_TILE * p->size[g], *rest = weights + job->length * LINE_TILE;
  EACH(r, LINE_TILE) vec_store_aligned(sums + r * TERM, vec_of(rest[r]) * num);
  if (!line_leads(p, g)) {
    EACH(r, LINE_TILE) vec_store_aligned(sums + r * TERM + LANES, p->dens[i][r]);
    line_product_num(sums, weights, terms, job->length);
    return;
  }
  EACH(r, LINE_TILE) vec_store_aligned(sums + r * TERM + LANES, vec_of(rest[r]) * den);
  line_product(sums, weights, terms, job->length);
  if (g + 1 == p->n || line_leads(p, g + 1)) return;
  EACH(r, LINE_TILE) p->dens[i][r] = vec_aligned(sums + r * TERM + LANES);
}

static void line_tiles(line_strip *p, size_t g, size_t c0) {
  const line_simd *job = p->job;
  line_state *s = &p->state[g];
  vec after_num[LINE_TILES], after_den[LINE_TILES];
  if (!job->causal) line_after(p, g, c0, after_num, after_den);
  for (size_t i = 0; i < LINE_TILES && c0 + i * LINE_TILE < job->t; i++) {
    const float *weights = line_weights_of(p, g, c0, i);
    vec num = job->causal ? s->num : s->num + after_num[i], den = job->causal ? s->den : s->den + after_den[i];
    _Alignas(64) float sums[LINE_TILE * TERM];
    line_fetch_next(p, g, c0, i);
    line_tile_sums(p, g, i, weights, num, den, sums);
    size_t t = c0 + i * LINE_TILE;
    line_finish(p, g, c0, t, aft_min(LINE_TILE, job->t - t), weights + (job->length + 1) * LINE_TILE, sums);
    line_leave(p, g, i * LINE_TILE, LINE_TILE);
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
  for (size_t i = 0; i < LINE_CHUNK; i++) p->logits[i].t = NO_KEYS;
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
  size_t last = (job->t - 1) / LINE_CHUNK * LINE_CHUNK, gone = aft_div_up(job->t - last, LINE_TILE) * LINE_TILE;
  int again = 0;
  for (size_t g = 0; g < p->n; g++) {
    line_state *s = &p->state[g];
    line_leave(p, g, gone, job->cap - gone);
    for (size_t l = 0; l < line_lanes(job, p->first + g); l++) {
      float down = s->down[l], up = s->up[l];
      again |= vec_judge(s->num[l], p->state[p->lead[g]].den[l], s->top[l], scaled, &down, &up,
                         &job->f->odd[p->batch * job->d + (p->first + g) * LANES + l]);
      s->down[l] = down;
      s->up[l] = up;
    }
  }
  return again;
}

static void line_task(void *arg, size_t i, double *scratch) {
  const line_simd *job = arg;
  line_strip p = {.job = job, .batch = i / job->strips, .first = i % job->strips * job->width};
  size_t at = 0;
  p.n = aft_min(job->width, job->groups - p.first);
  float *floats = aft_line(scratch);
  p.terms = floats + aft_room(&at, p.n * job->room * TERM);
  p.suffix = floats + aft_room(&at, job->causal ? 0 : job->chunks * p.n * TERM);
  p.keys = floats + aft_room(&at, job->cap * LANES);
  p.biases = floats + aft_room(&at, LINE_CHUNK * LINE_ROW);
  p.keys_vector = p.keys_chunk = p.biases_head = p.biases_chunk = NO_KEYS;
  p.weights = floats + at;
  for (size_t g = 0; g < p.n; g++) {
    p.state[g].down = p.state[g].up = vec_of(1);
    p.head[g] = line_head(job, p.first + g);
    p.lead[g] = job->w.w_head != 0 && g > 0 && p.head[g] == p.head[g - 1] ? p.lead[g - 1] : g;
    p.size[g] = line_leads(&p, g) ? TERM : LANES;
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
  job.width = job.w.w_head == 0 ? LINE_GROUPS / 2 : LINE_GROUPS; /* keys of a head are shared within a task */
  job.strips = aft_div_up(job.groups, job.width);
  job.chunks = aft_div_up(job.t, LINE_CHUNK);
  job.right = job.w.kernel_cols - 1 - job.w.left;
  job.length = job.w.kernel_cols + LINE_TILE - 1;
  job.cap = job.w.left + LINE_CHUNK + job.right;
  job.room = job.cap + (LINE_SLIDE - 1) * LINE_CHUNK;
  job.tiny = (float)job.t * AFT_DEN_TINY;
  size_t n = aft_min(job.width, job.groups), heads = aft_min(n, (size_t)call->in[1].dims[2]);
  size_t each = line_weights(job.length);
  (void)aft_room(&at, aft_mul(n, aft_mul(job.room, TERM)));
  if (!job.causal) (void)aft_room(&at, aft_mul(job.chunks, n * TERM));
  (void)aft_room(&at, aft_mul(job.cap, LANES));
  (void)aft_room(&at, LINE_CHUNK * LINE_ROW);
  (void)aft_room(&at, aft_mul(job.w.w_head != 0 ? heads : LINE_TILES, each));
  return aft_tasks(f->host, line_task, &job, (size_t)call->in[0].dims[0] * job.strips, aft_doubles(at));
}

static int simd_local(const aft_fast *f) { return line_run(f, aft_local_window(f->call, f->out)); }

static int simd_conv1d(const aft_fast *f) { return line_run(f, aft_conv1d_window(f->call, f->out)); }

static int simd_conv1d_fits(const aft_call *call) {
  size_t heads = (size_t)call->in[1].dims[2], dim = (size_t)call->in[2].dims[2];
  return heads == 1 || dim / heads % LANES == 0;
}
