/* The C side of this package as Go sees it. Functions that can fail return NULL or a message, which the caller frees
 * with aft_ort_free. Pointers to ONNX Runtime's objects are void *: the types that cgo makes of them belong to one Go
 * package each, and the objects come from another one. */
#ifndef AFT_ORT_GLUE_H
#define AFT_ORT_GLUE_H

#include <stddef.h>
#include <stdint.h>

void aft_ort_free(void *p);

/* Loads a library, or finds it loaded, and returns its OrtApiBase and version. keep: it stays until the process ends. */
char *aft_ort_load(const char *path, int keep, const void **base, char **version);

/* The two parts of that, for a system that loads libraries in another way: calls the function at that address, which is
 * OrtGetApiBase; copies the version, which the caller frees. */
const void *aft_ort_call_base(uintptr_t function);
char *aft_ort_version(const void *base);

/* Makes that library's function table the one in use, and its domain of custom operators. aft_ort_release ends both,
 * after the last session. */
char *aft_ort_use(const void *base);
void aft_ort_release(void);

/* 1 in *found when the options have that configuration entry. */
char *aft_ort_has_config(const void *options, const char *key, int *found);

/* Registers the kernels of ai.aft for every session made with the options. */
char *aft_ort_register(void *options);

/* An input or output of a session. The strings and arrays belong to it. */
typedef struct {
  char *name;
  int32_t is_tensor;
  int32_t dtype;
  int32_t has_shape;
  size_t rank;
  int64_t *dims;  /* -1: dynamic */
  char **symbols; /* one a dimension, "" for none */
} aft_ort_port;

char *aft_ort_port_count(const void *session, size_t *inputs, size_t *outputs);
char *aft_ort_port_read(const void *session, int is_output, size_t index, aft_ort_port *port);
void aft_ort_port_free(aft_ort_port *port);

/* A dense tensor in the caller's memory. */
typedef struct {
  void *data;
  size_t bytes;
  const int64_t *dims;
  size_t rank;
  int32_t dtype;
} aft_ort_buffer;

/* Runs a session. Into outputs[i] go values that the caller releases; where given[i] has dims, the output is written
 * there and outputs[i] stays NULL. On an error no value is left. */
char *aft_ort_run(void *session, const void *options, const char *const *input_names, const aft_ort_buffer *inputs,
                  size_t n_in, const char *const *output_names, const aft_ort_buffer *given, void **outputs, size_t n_out);

/* Reads an output: type, rank and data; dims when it is not NULL and has room for the rank. */
char *aft_ort_value_read(void *value, int32_t *dtype, size_t *rank, int64_t *dims, void **data);
void aft_ort_value_free(void *value);

/* The calling thread's floating-point control bits: rounding, flush to zero, traps. Sticky exception flags are left out. */
uint64_t aft_ort_fp_mode(void);

/* Gives the system back what the C library keeps of freed memory, where it can. */
void aft_ort_trim(void);

#endif
