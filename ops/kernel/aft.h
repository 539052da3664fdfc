/* The fused AFT kernels in C11: one entry, aft_run, which checks every shape and attribute before it reads a pointer.
 *
 * The kernels know nothing of ONNX Runtime or Go: threads and memory come from the caller (aft_host). They keep no global
 * state but the call counters, never write outside their outputs, and give the same bits for every number of threads and every
 * split of a batch. */
#ifndef AFT_H
#define AFT_H

#include <stddef.h>
#include <stdint.h>

#define AFT_MAX_INPUTS 11
#define AFT_MAX_OUTPUTS 6
#define AFT_MAX_RANK 3
#define AFT_MAX_ATTRS 3
#define AFT_MESSAGE 256 /* room for an error message, its terminating zero included */

/* Element types; the values are those of ONNX TensorProto.DataType. */
enum { AFT_FLOAT = 1, AFT_INT64 = 7, AFT_FLOAT16 = 10, AFT_DOUBLE = 11 };

enum { AFT_GATE_SIGMOID = 0, AFT_GATE_TANH = 1, AFT_GATE_IDENTITY = 2, AFT_GATE_ABSENT = 3 };

/* Results of aft_run and aft_check. */
enum { AFT_OK = 0, AFT_INVALID = 1, AFT_NO_MEMORY = 2 };

/* A read-only row-major operand of any alignment. data may be NULL when a dimension is 0, and in aft_check. */
typedef struct {
  int32_t dtype;
  int32_t rank;
  int64_t dims[AFT_MAX_RANK];
  const void *data;
} aft_tensor;

/* The attributes of every operator; an operator reads those that its declaration lists. */
typedef struct {
  int64_t causal;
  int64_t gate;
  int64_t window;   /* AFTLocal */
  int64_t pad_left; /* AFTConv1D */
  int64_t pads[2];  /* AFTConv2D: top, left */
} aft_attrs;

/* What the host lends a kernel. parallel may be NULL: then all work runs in this thread; so may alloc and release, both:
 * then memory comes from malloc. All three are called by the thread that called aft_run and by no other. */
typedef struct {
  void *ctx;
  /* Runs fn(arg, i) for i = 0..n-1, in any order and on any threads, and returns when all are done. */
  void (*parallel)(void *ctx, void (*fn)(void *arg, size_t i), void *arg, size_t n);
  void *(*alloc)(void *ctx, size_t bytes); /* NULL when there is no memory; aligned for double */
  void (*release)(void *ctx, void *p);
  size_t instructions; /* 0: the best this machine has; i: number i-1 of aft_instructions, as far as there are so many */
} aft_host;

/* The name of a set of vector instructions that this machine runs, the best last: "portable", "avx2"; NULL past the end. */
const char *aft_instructions(size_t i);

typedef struct aft_op aft_op;
typedef struct aft_simd aft_simd;     /* the kernels of one set of vector instructions */
typedef struct aft_packed aft_packed; /* a constant W, made ready for them */

typedef struct {
  const aft_op *op;
  aft_attrs attrs;
  aft_tensor in[AFT_MAX_INPUTS]; /* in the order of the declaration */
  int32_t n_in;
  void *out[AFT_MAX_OUTPUTS]; /* for aft_run: memory for the outputs, of any alignment; NULL for an empty one */
  const aft_packed *packed; /* by aft_pack of exactly this W and these attributes; or NULL */
} aft_call;

/* What element types an input takes: T1 is one of float, float16 and double, the same for all of a call; T2 is double where
 * that is double, else float. */
enum { AFT_T1, AFT_T2, AFT_I64 };

/* One input of the table. */
typedef struct {
  const char *name;
  int32_t type;
} aft_port;

/* One output of the table: it has the type and shape of input `like`, for a state the one that it renews. */
typedef struct {
  const char *name;
  int32_t like;
} aft_output;

/* One attribute of the table: an INT (len 0) or INTS of len values, and where it goes in aft_attrs. */
typedef struct {
  const char *name;
  int32_t len;
  size_t offset;
} aft_attr;

/* The operator table, generated from the Go declarations (zops.c): aft_ops() points at its first entry. */
struct aft_op {
  const char *name; /* "AFTFull" */
  int32_t n_in;
  aft_port in[AFT_MAX_INPUTS];
  int32_t n_out;
  aft_output out[AFT_MAX_OUTPUTS];
  int32_t n_attrs;
  aft_attr attrs[AFT_MAX_ATTRS];
  int (*check)(const aft_call *call, char message[AFT_MESSAGE]); /* shapes and attributes; may read int64 inputs */
  int (*run)(const aft_call *call, const aft_host *host);
  int32_t bias; /* the index of W among the inputs where a constant W can be packed; 0: it cannot */
  int (*pack)(const aft_simd *simd, const aft_attrs *attrs, const aft_tensor *w, aft_packed **packed);
};

const aft_op *aft_ops(size_t *count);

/* Checks the call: number, types, ranks and dimensions of the inputs, attributes, products that overflow, values of
 * int64 inputs that have data. Returns AFT_OK, or AFT_INVALID with a message that names the operator, the input or attribute, found and allowed. */
int aft_check(const aft_call *call, char message[AFT_MESSAGE]);

/* aft_check, then the kernel: writes the outputs; one that overlaps an input or another output is refused. Counts the
 * call. AFT_OK, AFT_INVALID or AFT_NO_MEMORY, the last two with a message. Safe to call from many threads. */
int aft_run(const aft_call *call, const aft_host *host, char message[AFT_MESSAGE]);

/* The element type of input i where T1 is t1. */
int32_t aft_type_of(const aft_op *op, int32_t i, int32_t t1);

/* Packs a W that will be the same in many calls: *packed is NULL where there is nothing to gain. At most as much memory as W
 * in float takes, rows rounded up. What is odd about W or the attributes is for aft_check to say. AFT_OK or AFT_NO_MEMORY. */
int aft_pack(const aft_op *op, const aft_attrs *attrs, const aft_tensor *w, const aft_host *host, aft_packed **packed);
void aft_unpack(aft_packed *packed);

/* How often aft_run ran the operator of that index of the table on that element type since the process began. */
uint64_t aft_calls(size_t op, int32_t dtype);

#endif
