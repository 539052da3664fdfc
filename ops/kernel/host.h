/* The host of a direct call from Go: as many POSIX threads as asked for, and malloc. */
#ifndef AFT_HOST_H
#define AFT_HOST_H

#include "aft.h"

typedef struct {
  size_t threads;
  size_t instructions; /* as in aft_host */
  int fail_alloc; /* the allocation that fails, counted from 1; 0: none */
  int allocs;     /* allocations asked for */
  int live;       /* allocations not released */
} aft_host_state;

/* aft_run on such a host. */
int aft_host_run(const aft_call *call, aft_host_state *state, char *message);

#endif
