//go:build cgo

#include "custom_op.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aft.h"

/* One operator for one element type. base comes first: ONNX Runtime hands back its address. */
typedef struct {
  aft_ort_custom_op base;
  const aft_op *op;
  int32_t dtype;
} custom_op;

/* A node: the operator, the node's attributes, and its W made ready for the kernels if that is constant. */
typedef struct {
  const custom_op *custom;
  aft_attrs attrs;
  aft_packed *packed;
} node;

/* What a kernel borrows from ONNX Runtime during one call. */
typedef struct {
  OrtKernelContext *context;
  OrtAllocator *allocator;
  OrtStatus *failed; /* of the parallel loop; the first one */
} host;

static const int32_t types[] = {AFT_FLOAT, AFT_FLOAT16, AFT_DOUBLE};
enum { TYPES = sizeof types / sizeof *types };

static const OrtMemoryInfo *cpu_memory;

static const custom_op *self(const OrtCustomOp *op) { return (const custom_op *)(const void *)op; }

static OrtStatus *fail(uint32_t code, const char *format, ...) {
  char text[AFT_MESSAGE + 128];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return ORT(CreateStatus)(code, text);
}

/* Replaces a status by one that names the place. */
static OrtStatus *explain(OrtStatus *status, const char *op, const char *what, const char *name) {
  OrtStatus *better =
      fail(AFT_ORT_INVALID_ARGUMENT, "ai.aft.%s: %s \"%s\": %s", op, what, name, ORT(GetErrorMessage)(status));
  ORT(ReleaseStatus)(status);
  return better;
}

static const char *op_name(const OrtCustomOp *op) { return self(op)->op->name; }
static const char *provider(const OrtCustomOp *op) { (void)op; return "CPUExecutionProvider"; }
static size_t input_count(const OrtCustomOp *op) { return (size_t)self(op)->op->n_in; }
static size_t output_count(const OrtCustomOp *op) { return (size_t)self(op)->op->n_out; }
static uint32_t required(const OrtCustomOp *op, size_t i) { (void)op; (void)i; return AFT_ORT_REQUIRED; }
static int32_t memory_type(const OrtCustomOp *op, size_t i) { (void)op; (void)i; return AFT_ORT_MEM_DEFAULT; }
static int start_version(const OrtCustomOp *op) { (void)op; return 1; }
static int end_version(const OrtCustomOp *op) { (void)op; return 1; }

static uint32_t input_type(const OrtCustomOp *op, size_t i) {
  return (uint32_t)aft_type_of(self(op)->op, (int32_t)i, self(op)->dtype);
}

static uint32_t output_type(const OrtCustomOp *op, size_t i) { return input_type(op, (size_t)self(op)->op->out[i].like); }

/* An INT into one place, INTS into len places. A missing attribute is an error, as is one of another type or length. */
static OrtStatus *read_attr(const OrtKernelInfo *info, const aft_op *op, const aft_attr *attr, aft_attrs *attrs) {
  int64_t *to = (int64_t *)(void *)((char *)attrs + attr->offset);
  if (attr->len == 0) {
    OrtStatus *status = ORT(KernelInfoGetAttribute_int64)(info, attr->name, to);
    return status == NULL ? NULL : explain(status, op->name, "attribute", attr->name);
  }
  size_t n = 0;
  OrtStatus *status = ORT(KernelInfoGetAttributeArray_int64)(info, attr->name, NULL, &n);
  if (status != NULL) return explain(status, op->name, "attribute", attr->name);
  if (n != (size_t)attr->len)
    return fail(AFT_ORT_INVALID_ARGUMENT, "ai.aft.%s: attribute \"%s\": has %zu values, want %d", op->name, attr->name, n,
                (int)attr->len);
  status = ORT(KernelInfoGetAttributeArray_int64)(info, attr->name, to, &n);
  return status == NULL ? NULL : explain(status, op->name, "attribute", attr->name);
}

static OrtStatus *read_info(const OrtTensorTypeAndShapeInfo *info, const aft_op *op, int32_t i, aft_tensor *t) {
  uint32_t dtype = 0;
  size_t rank = 0;
  OrtStatus *status = ORT(GetTensorElementType)(info, &dtype);
  if (status == NULL) status = ORT(GetDimensionsCount)(info, &rank);
  if (status != NULL) return status;
  if (rank > AFT_MAX_RANK)
    return fail(AFT_ORT_INVALID_ARGUMENT, "ai.aft.%s: input \"%s\": has rank %zu, want at most %d", op->name, op->in[i].name,
                rank, AFT_MAX_RANK);
  t->dtype = (int32_t)dtype;
  t->rank = (int32_t)rank;
  return ORT(GetDimensions)(info, t->dims, rank);
}

static OrtStatus *read_value(const OrtValue *value, const aft_op *op, int32_t i, aft_tensor *t) {
  OrtTensorTypeAndShapeInfo *info = NULL;
  OrtStatus *status = ORT(GetTensorTypeAndShape)(value, &info);
  if (status != NULL) return status;
  status = read_info(info, op, i, t);
  ORT(ReleaseTensorTypeAndShapeInfo)(info);
  if (status != NULL) return status;
  void *data = NULL;
  status = ORT(GetTensorMutableData)((OrtValue *)value, &data); /* the table has no const reader */
  t->data = data;
  return status;
}

static OrtStatus *read_input(OrtKernelContext *context, const aft_op *op, int32_t i, aft_tensor *t) {
  const OrtValue *value = NULL;
  OrtStatus *status = ORT(KernelContext_GetInput)(context, (size_t)i, &value);
  if (status != NULL) return status;
  if (value == NULL)
    return fail(AFT_ORT_INVALID_ARGUMENT, "ai.aft.%s: input \"%s\": missing", op->name, op->in[i].name);
  return read_value(value, op, i, t);
}

/* Packs W if it is an initializer that no caller can replace. */
static OrtStatus *pack(node *n, const OrtKernelInfo *info) {
  const aft_op *op = n->custom->op;
  const OrtValue *value = NULL;
  int constant = 0;
  if (op->bias == 0) return NULL;
  OrtStatus *status = ORT(KernelInfoGetConstantInput_tensor)(info, (size_t)op->bias, &constant, &value);
  if (status != NULL || !constant) return status;
  aft_tensor w = {0};
  status = read_value(value, op, op->bias, &w);
  if (status != NULL) return status;
  static const aft_host best = {0};
  if (aft_pack(op, &n->attrs, &w, &best, &n->packed) == AFT_OK) return NULL;
  return fail(AFT_ORT_FAIL, "ai.aft.%s: no memory to pack input \"%s\"", op->name, op->in[op->bias].name);
}

static OrtStatus *create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
  (void)api;
  const custom_op *custom = self(op);
  node *n = calloc(1, sizeof *n);
  if (n == NULL) return fail(AFT_ORT_FAIL, "ai.aft.%s: out of memory", custom->op->name);
  n->custom = custom;
  for (int32_t i = 0; i < custom->op->n_attrs; i++) {
    OrtStatus *status = read_attr(info, custom->op, &custom->op->attrs[i], &n->attrs);
    if (status != NULL) {
      free(n);
      return status;
    }
  }
  OrtStatus *status = pack(n, info);
  if (status != NULL) {
    free(n);
    return status;
  }
  *kernel = n;
  return NULL;
}

static void destroy(void *kernel) {
  node *n = kernel;
  aft_unpack(n->packed);
  free(n);
}

static void parallel(void *ctx, void (*fn)(void *arg, size_t i), void *arg, size_t n) {
  host *h = ctx;
  if (n == 1) {
    fn(arg, 0);
    return;
  }
  OrtStatus *status = ORT(KernelContext_ParallelFor)(h->context, fn, n, n, arg); /* n batches: tasks differ in length */
  if (status != NULL && h->failed != NULL)
    ORT(ReleaseStatus)(status);
  else if (status != NULL)
    h->failed = status;
}

static void *borrow(void *ctx, size_t bytes) {
  host *h = ctx;
  void *p = NULL;
  OrtStatus *status = ORT(AllocatorAlloc)(h->allocator, bytes, &p);
  if (status == NULL) return p;
  ORT(ReleaseStatus)(status);
  return NULL;
}

static void give_back(void *ctx, void *p) {
  host *h = ctx;
  OrtStatus *status = p == NULL ? NULL : ORT(AllocatorFree)(h->allocator, p);
  if (status != NULL) ORT(ReleaseStatus)(status);
}

/* In the build that shows that verify finds a wrong kernel, one number of what AFTLocal gives is. */
static void plant_fault(const aft_call *call) {
#ifdef AFT_PLANTED_FAULT
  const aft_tensor *x = &call->in[0];
  if (strcmp(call->op->name, "AFTLocal") != 0 || x->dtype != AFT_FLOAT) return;
  int64_t n = 1;
  for (int32_t i = 0; i < x->rank; i++) n *= x->dims[i];
  if (n > 0) ((float *)call->out[0])[n - 1] += 1e-3F;
#else
  (void)call;
#endif
}

static OrtStatus *run(const aft_call *call, OrtKernelContext *context) {
  host h = {context, NULL, NULL};
  OrtStatus *status = ORT(KernelContext_GetAllocator)(context, cpu_memory, &h.allocator);
  if (status != NULL) return status;
  aft_host lent = {.ctx = &h, .parallel = parallel, .alloc = borrow, .release = give_back};
  char message[AFT_MESSAGE] = "";
  int result = aft_run(call, &lent, message);
  ORT(ReleaseAllocator)(h.allocator);
  if (h.failed != NULL) return h.failed;
  if (result == AFT_OK) {
    plant_fault(call);
    return NULL;
  }
  if (message[0] == '\0') snprintf(message, sizeof message, "ai.aft.%s: out of memory", call->op->name);
  return fail(result == AFT_INVALID ? AFT_ORT_INVALID_ARGUMENT : AFT_ORT_FAIL, "%s", message);
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context) {
  const node *n = kernel;
  aft_call call = {.op = n->custom->op, .attrs = n->attrs, .packed = n->packed};
  size_t given = 0;
  OrtStatus *status = ORT(KernelContext_GetInputCount)(context, &given);
  if (status != NULL) return status;
  if (given != (size_t)call.op->n_in)
    return fail(AFT_ORT_INVALID_ARGUMENT, "ai.aft.%s: has %zu inputs, want %d", call.op->name, given, (int)call.op->n_in);
  call.n_in = call.op->n_in;
  for (int32_t i = 0; i < call.n_in; i++) {
    status = read_input(context, call.op, i, &call.in[i]);
    if (status != NULL) return status;
  }
  char message[AFT_MESSAGE] = "";
  if (aft_check(&call, message) != AFT_OK) return fail(AFT_ORT_INVALID_ARGUMENT, "%s", message);
  for (int32_t i = 0; i < call.op->n_out; i++) {
    const aft_tensor *like = &call.in[call.op->out[i].like];
    OrtValue *value = NULL;
    status = ORT(KernelContext_GetOutput)(context, (size_t)i, like->dims, (size_t)like->rank, &value);
    if (status == NULL) status = ORT(GetTensorMutableData)(value, &call.out[i]);
    if (status != NULL) return status;
  }
  return run(&call, context);
}

static const aft_ort_custom_op methods = {
    .version = AFT_ORT_CUSTOM_OP,
    .GetName = op_name,
    .GetExecutionProviderType = provider,
    .GetInputType = input_type,
    .GetInputTypeCount = input_count,
    .GetOutputType = output_type,
    .GetOutputTypeCount = output_count,
    .KernelDestroy = destroy,
    .GetInputCharacteristic = required,
    .GetOutputCharacteristic = required,
    .GetInputMemoryType = memory_type,
    .CreateKernelV2 = create,
    .KernelComputeV2 = compute,
    .GetStartVersion = start_version,
    .GetEndVersion = end_version,
};

/* The operators of this process: made once, never freed, as sessions keep their addresses. */
static const custom_op *operators(size_t *count) {
  static custom_op *all;
  size_t ops = 0;
  const aft_op *op = aft_ops(&ops);
  *count = ops * TYPES;
  if (all != NULL) return all;
  custom_op *made = calloc(*count, sizeof *made);
  if (made == NULL) return NULL;
  for (size_t i = 0; i < *count; i++) made[i] = (custom_op){methods, &op[i / TYPES], types[i % TYPES]};
  all = made;
  return all;
}

OrtStatus *aft_ort_make_domain(const OrtMemoryInfo *memory, OrtCustomOpDomain **domain) {
  size_t count = 0;
  const custom_op *all = operators(&count);
  if (all == NULL) return fail(AFT_ORT_FAIL, "out of memory");
  cpu_memory = memory;
  OrtStatus *status = ORT(CreateCustomOpDomain)("ai.aft", domain);
  for (size_t i = 0; i < count && status == NULL; i++)
    status = ORT(CustomOpDomain_Add)(*domain, (const OrtCustomOp *)(const void *)&all[i].base);
  return status;
}
