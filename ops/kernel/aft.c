#include "aft.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "aft_internal.h"

/* ---- calls and counters ------------------------------------------------------------------------------------------- */

enum { FLOATS = 3 };

static _Atomic uint64_t calls[AFT_N_OPS][FLOATS];

/* The column of an element type in the counters, -1 for a type that T1 does not stand for. */
static int float_index(int32_t dtype) {
  switch (dtype) {
    case AFT_FLOAT: return 0;
    case AFT_FLOAT16: return 1;
    case AFT_DOUBLE: return 2;
    default: return -1;
  }
}

uint64_t aft_calls(size_t op, int32_t dtype) {
  int f = float_index(dtype);
  return op < AFT_N_OPS && f >= 0 ? atomic_load(&calls[op][f]) : 0;
}

static size_t element_size(int32_t dtype) {
  switch (dtype) {
    case AFT_FLOAT: return 4;
    case AFT_FLOAT16: return 2;
    default: return 8;
  }
}

/* The number of bytes of a tensor that aft_check has seen: no product overflows. */
static size_t byte_size(const aft_tensor *t) {
  size_t n = element_size(t->dtype);
  for (int i = 0; i < t->rank; i++) n *= (size_t)t->dims[i];
  return n;
}

static int overlap(const void *a, size_t na, const void *b, size_t nb) {
  uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
  return na > 0 && nb > 0 && x < y + nb && y < x + na;
}

/* The index of call->op in the table, AFT_N_OPS if it is not one of ours. */
static size_t op_index(const aft_call *call) {
  size_t count, i = 0;
  const aft_op *ops = aft_ops(&count);
  while (i < count && call->op != &ops[i]) i++;
  return i;
}

int aft_check(const aft_call *call, char message[AFT_MESSAGE]) {
  if (op_index(call) == AFT_N_OPS) {
    snprintf(message, AFT_MESSAGE, AFT_DOMAIN ": the operator is not in the table of aft_ops()");
    return AFT_INVALID;
  }
  return call->op->check(call, message);
}

static size_t out_size(const aft_call *call, int i) { return byte_size(&call->in[call->op->out[i].like]); }

/* An output is memory of its own: a kernel may write some of it before it has read all of its inputs. */
static int check_output(const aft_call *call, int o, char *message) {
  const char *name = call->op->out[o].name;
  size_t bytes = out_size(call, o);
  if (bytes > 0 && call->out[o] == NULL) return aft_fail(call, message, "output \"%s\": has no memory", name);
  for (int i = 0; i < call->n_in; i++) {
    const aft_tensor *t = &call->in[i];
    if (!overlap(call->out[o], bytes, t->data, byte_size(t))) continue;
    return aft_fail(call, message, "output \"%s\": shares memory with input \"%s\"", name, call->op->in[i].name);
  }
  for (int i = 0; i < o; i++) {
    if (!overlap(call->out[o], bytes, call->out[i], out_size(call, i))) continue;
    return aft_fail(call, message, "output \"%s\": shares memory with output \"%s\"", name, call->op->out[i].name);
  }
  return AFT_OK;
}

static int check_data(const aft_call *call, char *message) {
  for (int i = 0; i < call->n_in; i++) {
    const aft_tensor *t = &call->in[i];
    if (byte_size(t) > 0 && t->data == NULL) {
      return aft_fail(call, message, "input \"%s\": has no data", call->op->in[i].name);
    }
  }
  int rc = AFT_OK;
  for (int o = 0; o < call->op->n_out && rc == AFT_OK; o++) rc = check_output(call, o, message);
  return rc;
}

int aft_run(const aft_call *call, const aft_host *host, char message[AFT_MESSAGE]) {
  static const aft_host alone = {0};
  size_t bytes = 0;
  int rc = aft_check(call, message);
  if (rc == AFT_OK) rc = check_data(call, message);
  if (rc != AFT_OK) return rc;
  for (int o = 0; o < call->op->n_out; o++) bytes |= out_size(call, o); /* without tokens, a state is still handed on */
  if (bytes > 0) rc = call->op->run(call, host != NULL ? host : &alone);
  if (rc == AFT_NO_MEMORY) {
    aft_fail(call, message, "no memory for the kernel's scratch");
    return rc;
  }
  atomic_fetch_add(&calls[op_index(call)][float_index(call->in[0].dtype)], 1);
  return rc;
}

/* ---- checks -------------------------------------------------------------------------------------------------------- */

int aft_fail(const aft_call *call, char *message, const char *format, ...) {
  int n = snprintf(message, AFT_MESSAGE, AFT_DOMAIN ".%s: ", call->op->name);
  if (n < 0 || n >= AFT_MESSAGE) return AFT_INVALID;
  va_list args;
  va_start(args, format);
  vsnprintf(message + n, (size_t)(AFT_MESSAGE - n), format, args);
  va_end(args);
  return AFT_INVALID;
}

/* "(2,3)" of a tensor of at most AFT_MAX_RANK dimensions. */
typedef struct {
  char text[24 * AFT_MAX_RANK];
} shape_text;

static shape_text shape_of(const aft_tensor *t) {
  shape_text s;
  size_t n = (size_t)snprintf(s.text, sizeof s.text, "(");
  for (int i = 0; i < t->rank; i++) {
    n += (size_t)snprintf(s.text + n, sizeof s.text - n, i > 0 ? ",%" PRId64 : "%" PRId64, t->dims[i]);
  }
  snprintf(s.text + n, sizeof s.text - n, ")");
  return s;
}

static const char *type_name(int32_t dtype) {
  switch (dtype) {
    case AFT_FLOAT: return "float32";
    case AFT_FLOAT16: return "float16";
    case AFT_DOUBLE: return "float64";
    case AFT_INT64: return "int64";
    default: return "of another type";
  }
}

int32_t aft_type_of(const aft_op *op, int32_t i, int32_t t1) {
  if (op->in[i].type == AFT_I64) return AFT_INT64;
  return op->in[i].type == AFT_T2 && t1 == AFT_FLOAT16 ? AFT_FLOAT : t1;
}

static int check_type(const aft_call *call, int i, char *message) {
  const aft_port *port = &call->op->in[i];
  int32_t dtype = call->in[i].dtype, first = call->in[0].dtype;
  if (port->type != AFT_T1) {
    int32_t want = aft_type_of(call->op, i, first);
    if (dtype == want) return AFT_OK;
    return aft_fail(call, message, "input \"%s\": is %s, want %s", port->name, type_name(dtype), type_name(want));
  }
  if (float_index(dtype) < 0) {
    return aft_fail(call, message, "input \"%s\": is %s, want float32, float16 or float64", port->name,
                    type_name(dtype));
  }
  if (dtype != first) {
    return aft_fail(call, message, "input \"%s\": is %s, but Q is %s", port->name, type_name(dtype),
                    type_name(first));
  }
  return AFT_OK;
}

/* The product of the dimensions that are not 0, in bytes, must fit both ptrdiff_t and int64_t: an empty tensor with an
 * absurd dimension is refused in whatever order the dimensions stand. */
static int check_size(const aft_call *call, int i, char *message) {
  const aft_tensor *t = &call->in[i];
  uint64_t limit = PTRDIFF_MAX < INT64_MAX ? (uint64_t)PTRDIFF_MAX : (uint64_t)INT64_MAX;
  uint64_t n = 1;
  int empty = 0;
  for (int axis = 0; axis < t->rank; axis++) {
    uint64_t d = (uint64_t)t->dims[axis];
    if (d == 0) {
      empty = 1;
    } else if (n > limit / d) {
      return aft_fail(call, message, "input \"%s\": has shape %s, more elements than memory can hold",
                      call->op->in[i].name, shape_of(t).text);
    } else {
      n *= d;
    }
  }
  if (!empty && n > limit / element_size(t->dtype)) {
    return aft_fail(call, message, "input \"%s\": has shape %s, more bytes than memory can hold",
                    call->op->in[i].name, shape_of(t).text);
  }
  return AFT_OK;
}

/* A single letter gets its size, or is held against the one it has; expressions (">=T") are the operator's business. */
static int check_dims(const aft_call *call, int i, aft_dims *dims, char *message) {
  const aft_tensor *t = &call->in[i];
  const char *const *letters = aft_port_dims[op_index(call)][i];
  const char *name = call->op->in[i].name;
  int rank = 0;
  while (rank < AFT_MAX_RANK && letters[rank] != NULL) rank++;
  if (t->rank != rank) {
    return aft_fail(call, message, "input \"%s\": has rank %d, want rank %d", name, (int)t->rank, rank);
  }
  for (int axis = 0; axis < rank; axis++) {
    const char *letter = letters[axis];
    int64_t size = t->dims[axis];
    if (size < 0) {
      return aft_fail(call, message, "input \"%s\": has shape %s, want dimensions >= 0", name, shape_of(t).text);
    }
    if (letter[0] < 'A' || letter[0] > 'Z' || letter[1] != 0) continue;
    int64_t *known = &dims->size[letter[0] - 'A'];
    if (*known >= 0 && *known != size) {
      return aft_fail(call, message, "input \"%s\": has shape %s, want %s = %" PRId64 " at axis %d", name,
                      shape_of(t).text, letter, *known, axis);
    }
    *known = size;
  }
  return check_size(call, i, message);
}

int aft_check_call(const aft_call *call, aft_dims *dims, char *message) {
  const aft_attrs *a = &call->attrs;
  for (size_t i = 0; i < 26; i++) dims->size[i] = -1;
  if (a->causal != 0 && a->causal != 1) {
    return aft_fail(call, message, "attribute \"causal\": is %" PRId64 ", want 0 or 1", a->causal);
  }
  if (a->gate < AFT_GATE_SIGMOID || a->gate > AFT_GATE_ABSENT) {
    return aft_fail(call, message,
                    "attribute \"gate\": is %" PRId64 ", want 0 (sigmoid), 1 (tanh), 2 (identity) or 3 (absent)",
                    a->gate);
  }
  if (call->n_in != call->op->n_in) {
    return aft_fail(call, message, "has %d inputs, want %d", (int)call->n_in, (int)call->op->n_in);
  }
  for (int i = 0; i < call->n_in; i++) {
    int rc = check_type(call, i, message);
    if (rc == AFT_OK) rc = check_dims(call, i, dims, message);
    if (rc != AFT_OK) return rc;
  }
  return AFT_OK;
}

int aft_at_least(const aft_call *call, int i, int axis, int64_t n, const char *what, char *message) {
  const aft_tensor *t = &call->in[i];
  if (t->dims[axis] >= n) return AFT_OK;
  return aft_fail(call, message, "input \"%s\": has shape %s, want at least %s = %" PRId64 " at axis %d",
                  call->op->in[i].name, shape_of(t).text, what, n, axis);
}

int aft_exactly(const aft_call *call, int i, int axis, int64_t n, const char *what, char *message) {
  const aft_tensor *t = &call->in[i];
  if (t->dims[axis] == n) return AFT_OK;
  return aft_fail(call, message, "input \"%s\": has shape %s, want %s = %" PRId64 " at axis %d",
                  call->op->in[i].name, shape_of(t).text, what, n, axis);
}

int aft_within(const aft_call *call, const char *name, int64_t value, int64_t lo, int64_t hi, const char *what,
               char *message) {
  if (value >= lo && value <= hi) return AFT_OK;
  return aft_fail(call, message, "attribute \"%s\": is %" PRId64 ", want %" PRId64 "..%" PRId64 " (%s)", name, value, lo,
                  hi, what);
}

int aft_fail_causal(const aft_call *call, int64_t s, int64_t t, char *message) {
  return aft_fail(call, message, "input \"K\": has %" PRId64 " positions, want S = T = %" PRId64 " because causal is 1",
                  s, t);
}

int aft_check_heads(const aft_call *call, const aft_dims *dims, char *message) {
  int64_t d = aft_dim(dims, 'D'), h = aft_dim(dims, 'H');
  if (h < 1) return aft_fail(call, message, "input \"K\": has %" PRId64 " heads, want at least 1", h);
  if (d % h != 0) {
    return aft_fail(call, message, "input \"K\": has %" PRId64 " heads, want a divisor of D = %" PRId64, h, d);
  }
  return AFT_OK;
}

/* ---- threads and memory ------------------------------------------------------------------------------------------- */

/* Scratch is taken for at least this many tasks at a time, and for as many as this many bytes hold. */
enum { MIN_SLOTS = 8, MAX_SLOTS = 1024, SLOTS = 64 };
static const size_t scratch_budget = (size_t)64 << 20;

/* Scratch of a task that has ended goes to the next one that begins, the first such first: as many slots as there are threads
 * are in use, and stay in the caches. */
typedef struct {
  void (*fn)(void *arg, size_t i, double *scratch);
  void *arg;
  double *scratch;
  size_t doubles; /* of one task */
  size_t first;   /* the round's first task */
  size_t slots;
  _Atomic uint64_t taken[MAX_SLOTS / SLOTS]; /* a bit a slot */
} round_of_tasks;

/* A slot that is free: tasks at work are never more than slots. */
static size_t take_slot(round_of_tasks *r) {
  for (size_t i = 0;; i = (i + 1) % aft_div_up(r->slots, SLOTS)) {
    uint64_t taken = atomic_load(&r->taken[i]);
    size_t most = aft_min(SLOTS, r->slots - i * SLOTS), slot = 0;
    while (slot < most && (taken >> slot & 1)) slot++;
    if (slot == most) continue;
    if (!(atomic_fetch_or(&r->taken[i], (uint64_t)1 << slot) >> slot & 1)) return i * SLOTS + slot;
  }
}

static void run_one(void *arg, size_t i) {
  round_of_tasks *r = arg;
  if (r->doubles == 0) {
    r->fn(r->arg, r->first + i, NULL);
    return;
  }
  size_t slot = take_slot(r);
  r->fn(r->arg, r->first + i, r->scratch + slot * r->doubles);
  atomic_fetch_and(&r->taken[slot / SLOTS], ~((uint64_t)1 << slot % SLOTS));
}

void *aft_take(const aft_host *host, size_t bytes) {
  if (bytes > PTRDIFF_MAX) return NULL;
  return host->alloc != NULL ? host->alloc(host->ctx, bytes) : malloc(bytes);
}

void aft_give_back(const aft_host *host, void *p) {
  if (host->alloc == NULL) {
    free(p);
  } else if (p != NULL && host->release != NULL) {
    host->release(host->ctx, p);
  }
}

int aft_tasks(const aft_host *host, void (*fn)(void *arg, size_t i, double *scratch), void *arg, size_t n,
              size_t doubles) {
  if (n == 0) return AFT_OK;
  doubles = aft_mul(aft_add(doubles, 7) / 8, 8); /* whole cache lines: tasks do not share one */
  size_t bytes = aft_mul(doubles, sizeof(double)), slots = n;
  if (bytes > 0 && slots > MIN_SLOTS) {
    size_t fit = scratch_budget / bytes;
    slots = aft_min(aft_min(slots, MAX_SLOTS), fit > MIN_SLOTS ? fit : MIN_SLOTS);
  }
  round_of_tasks round = {.fn = fn, .arg = arg, .doubles = doubles, .slots = slots};
  if (bytes > 0) {
    round.scratch = aft_take(host, aft_mul(bytes, slots));
    if (round.scratch == NULL) return AFT_NO_MEMORY;
  }
  for (; round.first < n; round.first += slots) {
    size_t count = aft_min(slots, n - round.first);
    if (host->parallel != NULL && count > 1) {
      host->parallel(host->ctx, run_one, &round, count);
    } else {
      for (size_t i = 0; i < count; i++) run_one(&round, i);
    }
  }
  aft_give_back(host, round.scratch);
  return AFT_OK;
}
