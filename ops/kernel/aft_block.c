#include "aft_internal.h"

aft_block aft_block_of(const aft_call *call, size_t batch, size_t first, size_t n) {
  const aft_tensor *k = &call->in[1], *v = &call->in[2];
  size_t dim = (size_t)v->dims[2], heads = (size_t)k->dims[2];
  return (aft_block){k, v, batch, (size_t)v->dims[1], dim, heads, dim / heads, first, n};
}

size_t aft_block_count(const aft_call *call, const aft_channels *which, size_t most) {
  if (which != NULL) return which->n;
  return (size_t)call->in[0].dims[0] * aft_div_up((size_t)call->in[0].dims[2], most);
}

aft_block aft_block_at_index(const aft_call *call, const aft_channels *which, size_t most, size_t i) {
  size_t dim = (size_t)call->in[0].dims[2], blocks = aft_div_up(dim, most);
  if (which != NULL) return aft_block_of(call, which->channel[i] / dim, which->channel[i] % dim, 1);
  size_t first = i % blocks * most;
  return aft_block_of(call, i / blocks, first, aft_min(most, dim - first));
}

void aft_block_scan(const aft_block *b, size_t upto, aft_channel *ch) {
  double k[AFT_LANES], v[AFT_LANES], top[AFT_LANES], key[AFT_LANES];
  for (size_t j = 0; j < b->n; j++) {
    key[j] = -INFINITY;
    top[j] = 0;
    ch[j].bound = 0;
  }
  for (size_t s = 0; s < upto; s++) {
    aft_block_load(b, s, k, v);
    for (size_t j = 0; j < b->n; j++) {
      if (k[j] > key[j] && k[j] < INFINITY) key[j] = k[j];
      if (k[j] == -INFINITY) continue;
      double size = fabs(v[j]);
      if (size > top[j] && size < INFINITY) top[j] = size;
      if (size == INFINITY) ch[j].bound = INFINITY;
    }
  }
  for (size_t j = 0; j < b->n; j++) {
    int exponent = 0;
    (void)frexp(top[j], &exponent); /* top = f * 2^exponent with f in [0.5,1) */
    exponent = exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent;
    ch[j].key = key[j] > -INFINITY ? key[j] : 0;
    ch[j].down = ldexp(1, -exponent);
    ch[j].up = ldexp(1, exponent);
    if (ch[j].bound == 0) ch[j].bound = top[j] * ch[j].down;
  }
}

void aft_block_terms(const aft_block *b, const aft_channel *ch, size_t s, double *row) {
  double k[AFT_LANES], v[AFT_LANES], *term = row, *a = row + b->n;
  aft_block_load(b, s, k, v);
  for (size_t j = 0; j < b->n; j++) {
    /* Channels of one head share their key: one exp will do. */
    int again = j > 0 && k[j] == k[j - 1] && ch[j].key == ch[j - 1].key;
    a[j] = again ? a[j - 1] : k[j] == -INFINITY ? 0 : exp(k[j] - ch[j].key);
    term[j] = k[j] == -INFINITY ? 0 : a[j] * (v[j] * ch[j].down);
  }
}
