/* Every operator on every instruction set and type, called by several threads at once on the same operands and the same packed
 * W, each call with threads of its own, at some sizes: for the sanitizers, of which that of threads understands C alone and not
 * C called from Go. Every call must give the bits of the first, which ran alone. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aft.h"
#include "host.h"

enum { B = 2, WINDOW = 5, CALLERS = 3, THREADS = 3, MOST = 1 << 14 };

static int T, D; /* D is a multiple of 4, T larger than 1 */

typedef struct {
  aft_call call;
  size_t bytes[AFT_MAX_OUTPUTS];
  size_t instructions;
  char *want[AFT_MAX_OUTPUTS];
} work;

static size_t size_of(int32_t dtype) { return dtype == AFT_DOUBLE || dtype == AFT_INT64 ? 8 : dtype == AFT_FLOAT ? 4 : 2; }

static size_t elements(const aft_tensor *t) {
  size_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= (size_t)t->dims[i];
  return n;
}

/* Numbers of -1..1, every fifth of -90..90; or 1..2 for a sum of weights. */
static void *numbers(int32_t dtype, size_t n, int positive) {
  char *data = calloc(MOST, 8);
  for (size_t i = 0; i < n; i++) {
    double x = positive ? 1.5 + 0.5 * sin((double)i) : sin(0.7 * (double)i) * (i % 5 == 0 ? 90 : 1);
    float y = (float)x;
    uint16_t half = (uint16_t)(positive ? 0x3e00 : i % 5 == 0 ? 0xd5a0 : i % 2 ? 0xb800 : 0x3400); /* 1.5; -90, -0.5, 0.25 */
    if (dtype == AFT_DOUBLE) memcpy(data + 8 * i, &x, 8);
    if (dtype == AFT_FLOAT) memcpy(data + 4 * i, &y, 4);
    if (dtype == AFT_FLOAT16) memcpy(data + 2 * i, &half, 2);
  }
  return data;
}

static void *integers(int64_t a, int64_t b) {
  int64_t *data = calloc(MOST, 8);
  data[0] = a;
  data[1] = b;
  return data;
}

static void shape(aft_tensor *t, int rank, int64_t a, int64_t b, int64_t c) {
  t->rank = rank;
  t->dims[0] = a;
  t->dims[1] = b;
  t->dims[2] = c;
}

/* The shape of an input by its name; nothing has more than MOST elements. */
static void describe(const aft_op *op, int i, aft_tensor *t) {
  const char *name = op->in[i].name;
  int conv = strncmp(op->name, "AFTConv", 7) == 0, plane = strcmp(op->name, "AFTConv2D") == 0;
  int full = strncmp(op->name, "AFTFull", 7) == 0, most = T + WINDOW + 2, heads = conv ? D / 4 : D, slots = full ? most : WINDOW - 1;
  if (strcmp(name, "K") == 0) shape(t, 3, B, T, heads);
  else if (strcmp(name, "Q") == 0 || strcmp(name, "V") == 0) shape(t, 3, B, T, D);
  else if (strcmp(name, "W") == 0 && plane) shape(t, 3, heads, 3, 3);
  else if (strcmp(name, "W") == 0 && conv) shape(t, 2, heads, WINDOW, 0);
  else if (strcmp(name, "W") == 0) shape(t, 2, most, full ? most : WINDOW, 0);
  else if (strcmp(name, "grid") == 0) shape(t, 1, 2, 0, 0);
  else if (strcmp(name, "keys") == 0) shape(t, 3, B, slots, heads);
  else if (strcmp(name, "values") == 0) shape(t, 3, B, slots, D);
  else if (strcmp(name, "position") == 0 || strcmp(name, "length") == 0) shape(t, 1, B, 0, 0);
  else shape(t, 2, B, strcmp(name, "n") == 0 ? D : heads, 0); /* m, n, d */
}

static work prepare(const aft_op *op, int32_t dtype) {
  work w = {.call = {.op = op, .n_in = op->n_in}};
  w.call.attrs = (aft_attrs){.causal = strcmp(op->name, "AFTConv2D") != 0, .gate = AFT_GATE_SIGMOID, .window = WINDOW, .pad_left = 2, .pads = {1, 1}};
  for (int i = 0; i < op->n_in; i++) {
    aft_tensor *t = &w.call.in[i];
    describe(op, i, t);
    t->dtype = aft_type_of(op, i, dtype);
    int positive = strcmp(op->in[i].name, "d") == 0;
    if (t->dtype != AFT_INT64) t->data = numbers(t->dtype, elements(t), positive);
    else if (strcmp(op->in[i].name, "grid") == 0) t->data = integers(1, T);
    else if (strcmp(op->in[i].name, "length") == 0) t->data = integers(T, T / 2);
    else t->data = integers(WINDOW + 2, 3);
  }
  for (int i = 0; i < op->n_out; i++) {
    const aft_tensor *like = &w.call.in[op->out[i].like];
    w.bytes[i] = elements(like) * size_of(like->dtype);
  }
  return w;
}

/* One call into memory of its own. */
static void run(const work *w, size_t threads, char **out) {
  aft_call call = w->call;
  aft_host_state state = {.threads = threads, .instructions = w->instructions};
  char message[AFT_MESSAGE] = "";
  for (int i = 0; i < call.op->n_out; i++) call.out[i] = out[i] = calloc(w->bytes[i] + 1, 1);
  if (aft_host_run(&call, &state, message) == AFT_OK && state.live == 0) return;
  fprintf(stderr, "%s: %s, %d allocations left\n", call.op->name, message, state.live);
  exit(1);
}

static void *caller(void *arg) {
  const work *w = arg;
  char *out[AFT_MAX_OUTPUTS];
  run(w, THREADS, out);
  for (int i = 0; i < w->call.op->n_out; i++) {
    if (memcmp(out[i], w->want[i], w->bytes[i]) != 0) {
      fprintf(stderr, "%s: output %d has other bits\n", w->call.op->name, i);
      exit(1);
    }
    free(out[i]);
  }
  return NULL;
}

static void at_once(work *w) {
  pthread_t threads[CALLERS];
  run(w, 1, w->want);
  for (int i = 0; i < CALLERS; i++) {
    if (pthread_create(&threads[i], NULL, caller, w) != 0) exit(2);
  }
  for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < w->call.op->n_out; i++) free(w->want[i]);
}

static size_t every_call(const aft_op *op, int32_t type) {
  size_t calls = 0;
  work w = prepare(op, type);
  for (w.instructions = 1; aft_instructions(w.instructions - 1) != NULL; w.instructions++, calls++) {
    aft_host host = {.instructions = w.instructions};
    aft_packed *packed = NULL;
    if (op->bias > 0 && aft_pack(op, &w.call.attrs, &w.call.in[op->bias], &host, &packed) != AFT_OK) exit(2);
    w.call.packed = packed;
    at_once(&w);
    aft_unpack(packed);
  }
  for (int i = 0; i < op->n_in; i++) free((void *)w.call.in[i].data);
  return calls;
}

int main(void) {
  static const int32_t types[] = {AFT_FLOAT, AFT_FLOAT16, AFT_DOUBLE};
  static const int sizes[][2] = {{37, 20}, {2, 4}, {9, 64}};
  size_t ops = 0, calls = 0;
  const aft_op *op = aft_ops(&ops);
  for (size_t n = 0; n < 3; n++) {
    T = sizes[n][0];
    D = sizes[n][1];
    for (size_t i = 0; i < ops; i++) {
      for (size_t t = 0; t < 3; t++) calls += every_call(&op[i], types[t]);
    }
  }
  printf("%zu operators, %zu calls %d at once\n", ops, calls, CALLERS);
  return ops == 0 || calls < 9 * ops;
}
