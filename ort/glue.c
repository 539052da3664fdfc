//go:build cgo

#ifndef _WIN32
#define _GNU_SOURCE
#include <dlfcn.h>
#endif
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capi.h"
#include "custom_op.h"
#include "glue.h"

const aft_slot *aft_ort_api;

static OrtMemoryInfo *cpu_memory;
static OrtCustomOpDomain *domain;

/* What a message becomes when there is no memory for it; never freed. */
static char no_memory[] = "out of memory";

void aft_ort_free(void *p) {
  if (p != no_memory) free(p);
}

static char *copy(const char *s) {
  size_t n = strlen(s) + 1;
  char *c = malloc(n);
  return c == NULL ? no_memory : memcpy(c, s, n);
}

/* The message of a status, which it releases; NULL for success. */
static char *message(OrtStatus *status) {
  if (status == NULL) return NULL;
  char *m = copy(ORT(GetErrorMessage)(status));
  ORT(ReleaseStatus)(status);
  return m;
}

#define TRY(call)                                \
  do {                                           \
    char *failed = message(call);                \
    if (failed != NULL) return failed;           \
  } while (0)

const void *aft_ort_call_base(uintptr_t function) {
  const aft_ort_base *(*get)(void) = (const aft_ort_base *(*)(void))function;
  return get == NULL ? NULL : get();
}

char *aft_ort_version(const void *base) { return copy(((const aft_ort_base *)base)->GetVersionString()); }

#ifndef _WIN32
char *aft_ort_load(const char *path, int keep, const void **base, char **version) {
  void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL | (keep ? RTLD_NODELETE : 0));
  if (handle == NULL) return copy(dlerror());
  *base = aft_ort_call_base((uintptr_t)dlsym(handle, "OrtGetApiBase"));
  char *failed = NULL;
  if (*base == NULL)
    failed = copy("has no function OrtGetApiBase: it is no ONNX Runtime");
  else
    *version = aft_ort_version(*base);
  dlclose(handle);
  return failed;
}
#endif

char *aft_ort_use(const void *base) {
  const OrtApi *api = ((const aft_ort_base *)base)->GetApi(AFT_ORT_API);
  if (api == NULL) return copy("does not offer the C API of version 1.24");
  aft_ort_api = (const aft_slot *)(const void *)api;
  TRY(ORT(CreateCpuMemoryInfo)(AFT_ORT_ARENA_ALLOCATOR, AFT_ORT_MEM_DEFAULT, &cpu_memory));
  char *failed = message(aft_ort_make_domain(cpu_memory, &domain));
  if (failed != NULL) aft_ort_release();
  return failed;
}

void aft_ort_release(void) {
  if (domain != NULL) ORT(ReleaseCustomOpDomain)(domain);
  if (cpu_memory != NULL) ORT(ReleaseMemoryInfo)(cpu_memory);
  domain = NULL;
  cpu_memory = NULL;
}

char *aft_ort_has_config(const void *options, const char *key, int *found) {
  return message(ORT(HasSessionConfigEntry)(options, key, found));
}

char *aft_ort_register(void *options) { return message(ORT(AddCustomOpDomain)(options, domain)); }

char *aft_ort_port_count(const void *session, size_t *inputs, size_t *outputs) {
  TRY(ORT(SessionGetInputCount)(session, inputs));
  TRY(ORT(SessionGetOutputCount)(session, outputs));
  return NULL;
}

/* Names come from ONNX Runtime's default allocator; ours is copied from that. */
static char *port_name(const OrtSession *session, int is_output, size_t index, char **name) {
  OrtAllocator *allocator = NULL;
  TRY(ORT(GetAllocatorWithDefaultOptions)(&allocator));
  char *given = NULL;
  TRY(is_output ? ORT(SessionGetOutputName)(session, index, allocator, &given)
                : ORT(SessionGetInputName)(session, index, allocator, &given));
  *name = copy(given);
  return message(ORT(AllocatorFree)(allocator, given));
}

static char *port_shape(const OrtTensorTypeAndShapeInfo *info, aft_ort_port *port) {
  uint32_t dtype = 0;
  size_t rank = 0;
  TRY(ORT(GetTensorElementType)(info, &dtype));
  port->dtype = (int32_t)dtype;
  port->has_shape = ORT(TensorTypeAndShape_HasShape)(info);
  TRY(ORT(GetDimensionsCount)(info, &rank));
  if (rank == 0) return NULL;
  port->dims = calloc(rank, sizeof *port->dims);
  port->symbols = calloc(rank, sizeof *port->symbols);
  const char **symbols = calloc(rank, sizeof *symbols);
  char *failed = NULL;
  if (port->dims == NULL || port->symbols == NULL || symbols == NULL)
    failed = copy(no_memory);
  if (failed == NULL) failed = message(ORT(GetDimensions)(info, port->dims, rank));
  if (failed == NULL) failed = message(ORT(GetSymbolicDimensions)(info, symbols, rank));
  if (failed == NULL) {
    port->rank = rank;
    for (size_t i = 0; i < rank; i++) port->symbols[i] = copy(symbols[i] == NULL ? "" : symbols[i]);
  }
  free(symbols);
  return failed;
}

char *aft_ort_port_read(const void *session, int is_output, size_t index, aft_ort_port *port) {
  memset(port, 0, sizeof *port);
  char *failed = port_name(session, is_output, index, &port->name);
  if (failed != NULL) return failed;
  OrtTypeInfo *type = NULL;
  TRY(is_output ? ORT(SessionGetOutputTypeInfo)(session, index, &type)
                : ORT(SessionGetInputTypeInfo)(session, index, &type));
  uint32_t kind = 0;
  const OrtTensorTypeAndShapeInfo *info = NULL; /* part of type */
  failed = message(ORT(GetOnnxTypeFromTypeInfo)(type, &kind));
  if (failed == NULL && kind == AFT_ORT_TYPE_TENSOR)
    failed = message(ORT(CastTypeInfoToTensorInfo)(type, &info));
  if (failed == NULL && info != NULL) {
    port->is_tensor = 1;
    failed = port_shape(info, port);
  }
  ORT(ReleaseTypeInfo)(type);
  return failed;
}

void aft_ort_port_free(aft_ort_port *port) {
  for (size_t i = 0; i < port->rank; i++) aft_ort_free(port->symbols[i]);
  aft_ort_free(port->name);
  free(port->symbols);
  free(port->dims);
  memset(port, 0, sizeof *port);
}

/* A value over the caller's memory. An empty tensor has none, but ONNX Runtime wants a pointer. */
static char *wrap(const aft_ort_buffer *b, OrtValue **value) {
  static char nothing[16];
  void *data = b->data == NULL ? nothing : b->data;
  return message(ORT(CreateTensorWithDataAsOrtValue)(cpu_memory, data, b->bytes, b->dims, b->rank, (uint32_t)b->dtype,
                                                     value));
}

static void release(OrtValue **values, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (values[i] != NULL) ORT(ReleaseValue)(values[i]);
}

char *aft_ort_run(void *session, const void *options, const char *const *input_names, const aft_ort_buffer *inputs,
                  size_t n_in, const char *const *output_names, const aft_ort_buffer *given, void **outputs,
                  size_t n_out) {
  OrtValue **values = calloc(n_in + n_out + 1, sizeof *values);
  if (values == NULL) return no_memory;
  OrtValue **results = values + n_in;
  char *failed = NULL;
  for (size_t i = 0; i < n_in && failed == NULL; i++) failed = wrap(&inputs[i], &values[i]);
  for (size_t i = 0; i < n_out && failed == NULL; i++)
    if (given[i].dims != NULL) failed = wrap(&given[i], &results[i]);
  if (failed == NULL)
    failed = message(ORT(Run)(session, options, input_names, (const OrtValue *const *)values, n_in, output_names, n_out,
                              results));
  for (size_t i = 0; i < n_out && failed == NULL; i++)
    if (given[i].dims == NULL) {
      outputs[i] = results[i];
      results[i] = NULL;
    }
  release(values, n_in + n_out);
  free(values);
  return failed;
}

char *aft_ort_value_read(void *value, int32_t *dtype, size_t *rank, int64_t *dims, void **data) {
  OrtTensorTypeAndShapeInfo *info = NULL;
  TRY(ORT(GetTensorTypeAndShape)(value, &info));
  uint32_t type = 0;
  char *failed = message(ORT(GetTensorElementType)(info, &type));
  if (failed == NULL && dims == NULL) failed = message(ORT(GetDimensionsCount)(info, rank));
  if (failed == NULL && dims != NULL) failed = message(ORT(GetDimensions)(info, dims, *rank));
  ORT(ReleaseTensorTypeAndShapeInfo)(info);
  *dtype = (int32_t)type;
  if (failed == NULL) failed = message(ORT(GetTensorMutableData)(value, data));
  return failed;
}

void aft_ort_value_free(void *value) {
  if (value != NULL) ORT(ReleaseValue)(value);
}

uint64_t aft_ort_fp_mode(void) {
#if defined(__x86_64__)
  uint32_t mxcsr;
  __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
  return mxcsr & ~0x3fu;
#elif defined(__aarch64__)
  uint64_t fpcr;
  __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
  return fpcr;
#else
  return 0;
#endif
}

#ifdef __GLIBC__
#include <malloc.h>
void aft_ort_trim(void) { malloc_trim(0); }
#else
void aft_ort_trim(void) {}
#endif
