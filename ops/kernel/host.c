#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_THREADS = 64 };

/* Tasks are handed out one by one: which thread runs which differs from call to call. */
typedef struct {
  void (*fn)(void *arg, size_t i);
  void *arg;
  size_t n;
  atomic_size_t next;
} work;

static void *worker(void *arg) {
  work *w = arg;
  for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->n;) w->fn(w->arg, i);
  return NULL;
}

static void parallel(void *ctx, void (*fn)(void *arg, size_t i), void *arg, size_t n) {
  const aft_host_state *state = ctx;
  work w = {.fn = fn, .arg = arg, .n = n};
  pthread_t threads[MAX_THREADS];
  size_t started = 0, wanted = state->threads < n ? state->threads : n;
  if (wanted > MAX_THREADS) wanted = MAX_THREADS;
  /* This thread works too; where the system gives no more threads, it does the rest. */
  while (started + 1 < wanted && pthread_create(&threads[started], NULL, worker, &w) == 0) started++;
  worker(&w);
  while (started > 0) pthread_join(threads[--started], NULL);
}

static void *lend(void *ctx, size_t bytes) {
  aft_host_state *state = ctx;
  void *p = ++state->allocs == state->fail_alloc ? NULL : malloc(bytes);
  state->live += p != NULL;
  return p;
}

static void take_back(void *ctx, void *p) {
  aft_host_state *state = ctx;
  state->live -= p != NULL;
  free(p);
}

int aft_host_run(const aft_call *call, aft_host_state *state, char *message) {
  aft_host host = {.ctx = state, .parallel = parallel, .alloc = lend, .release = take_back, .instructions = state->instructions};
  return aft_run(call, &host, message);
}
