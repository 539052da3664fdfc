/* What the step forms have in common: a row sees the sums of the tokens that have left the window, with bias 0, and the
 * tokens inside its window, with their biases. AFTSimpleStep's window is the token itself and has no biases; that of
 * AFTFullStep has no end, so there are no sums. The state is laid out in aft_*_step.c and in package ops. */
#ifndef AFT_STEP_H
#define AFT_STEP_H

#include "aft_simd.h"

/* What a state holds where there is no token yet, beside 0: in m, and in keys the lowest finite number of their type. */
#define AFT_EMPTY_MAX (-1e30)

/* The window of a cache. */
#define AFT_EVERYTHING ((size_t)1 << 48)

/* A call of a step form. w, sums, tokens are the indices among the inputs of W, of m (n and d follow) and of keys (values
 * follow), 0 where there are none; new_sums, new_tokens those of what renews them among the outputs.
 *
 * The bias of the token at `position` for itself is element w_first + position*w_position + head*w_head of W, and that for
 * the token i before it stands i elements before. */
struct aft_step {
  const aft_call *call;
  size_t batches, t, dim, heads, group; /* channel d has the key of head d / group */
  size_t window, slots;
  int cache; /* keys and values hold every token in its own slot; else the youngest, the last in the last slot */
  int w, sums, tokens, new_sums, new_tokens;
  size_t w_first, w_position, w_head;
};

/* The sizes of Q and K; then for what keeps a ring of tokens, as AFTLocalStep and AFTConv1DStep do, all but where biases are. */
aft_step aft_step_of(const aft_call *call);
void aft_step_ring(aft_step *step);

/* One sequence of the batch. Its tokens are counted from the oldest that the state still holds: `held` of those, then
 * `length` new ones. */
typedef struct {
  size_t b, position, length, held;
  int past; /* tokens have left the window before this chunk: the sums of the state count */
} aft_sequence;

aft_sequence aft_sequence_of(const aft_step *step, size_t b);

/* How many tokens have left the window of row t. */
static inline size_t aft_step_left(const aft_step *step, const aft_sequence *q, size_t t) {
  size_t end = q->held + t + 1;
  return end > step->window ? end - step->window : 0;
}

/* Where K and V of a token are: row `row` of both. */
typedef struct {
  const aft_tensor *k, *v;
  size_t row;
} aft_token;

static inline aft_token aft_token_at(const aft_step *step, const aft_sequence *q, size_t i) {
  const aft_tensor *in = step->call->in;
  if (i >= q->held) return (aft_token){&in[1], &in[2], q->b * step->t + (i - q->held)};
  size_t slot = step->cache ? i : step->slots - q->held + i;
  return (aft_token){&in[step->tokens], &in[step->tokens + 1], q->b * step->slots + slot};
}

/* The element of W that holds the bias of row t for itself, in a head. */
static inline size_t aft_step_bias(const aft_step *step, const aft_sequence *q, size_t t, size_t head) {
  return step->w_first + (q->position + t) * step->w_position + head * step->w_head;
}

/* Writes the next keys and values, in so many pieces. */
size_t aft_step_copies(const aft_step *step);
void aft_step_copy(const aft_step *step, size_t i);

/* Y of channels first..first+n-1 of a sequence is 0 where the chunk is padding. */
void aft_step_pad(const aft_step *step, const aft_sequence *q, size_t first, size_t n);

/* The step form in double, or of the channels `which` after the vectors. */
int aft_step_double(const aft_step *step, const aft_host *host, const aft_channels *which);

/* The whole: vectors, then double where they cannot; double for double. */
int aft_step_run(const aft_step *step, const aft_host *host, int (*fast)(const aft_fast *f),
                 int (*slow)(const aft_call *call, void *out, const aft_host *host, const aft_channels *which));

/* The ratio of row t of channel d from the logits themselves, in double, in O(held + t). */
double aft_step_exact(const aft_step *step, const aft_sequence *q, size_t t, size_t d);

/* ---- checks -------------------------------------------------------------------------------------------------------- */

/* Position and length, where their values are known: lengths of 0..T, positions that stay below limit, which `what`
 * names. */
int aft_check_chunk(const aft_call *call, const aft_dims *dims, int64_t limit, const char *what, char *message);

/* Where nothing has a row for each position. */
#define AFT_NO_LIMIT INT32_MAX

/* Keys and values, inputs 7 and 8, have s-1 slots, s the columns of W. */
int aft_check_ring(const aft_call *call, char *message);

#endif
