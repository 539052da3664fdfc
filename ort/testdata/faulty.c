/* A library between this package and ONNX Runtime, for TestFailingCalls: it exports OrtGetApiBase, and its function table is
 * ONNX Runtime's with every function that this package calls and that can fail replaced by one that fails at a chosen
 * call. It counts what was given out and not taken back. Chosen and counted through a file that both sides map. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "onnxruntime_c_api.h"

typedef struct {
  char target[64];        /* the function that fails */
  _Atomic int64_t at;     /* its call that does, counted from 1; 0: none */
  _Atomic int64_t calls;  /* of the target */
  _Atomic int64_t live;   /* objects and memory given out */
  _Atomic int64_t status; /* statuses given out */
} control;

static control *shared;
static const OrtApiBase *real_base;
static const OrtApi *real;
static OrtApi table;

static int hit(const char *name) {
  return strcmp(shared->target, name) == 0 && atomic_fetch_add(&shared->calls, 1) + 1 == atomic_load(&shared->at);
}

static OrtStatus *given(OrtStatus *s) {
  if (s != NULL) atomic_fetch_add(&shared->status, 1);
  return s;
}

static OrtStatus *injected(void) { return given(real->CreateStatus(ORT_FAIL, "injected failure")); }

static OrtStatus *made(OrtStatus *s) {
  if (s == NULL) atomic_fetch_add(&shared->live, 1);
  return given(s);
}

#define CALL(name, how, params, args) \
  static OrtStatus *ORT_API_CALL f_##name params { return hit(#name) ? injected() : how(real->name args); }

CALL(CreateCustomOpDomain, made, (const char *a, OrtCustomOpDomain **b), (a, b))
CALL(CustomOpDomain_Add, given, (OrtCustomOpDomain * a, const OrtCustomOp *b), (a, b))
CALL(AddCustomOpDomain, given, (OrtSessionOptions * a, OrtCustomOpDomain *b), (a, b))
CALL(SessionGetInputCount, given, (const OrtSession *a, size_t *b), (a, b))
CALL(SessionGetOutputCount, given, (const OrtSession *a, size_t *b), (a, b))
CALL(SessionGetInputTypeInfo, made, (const OrtSession *a, size_t b, OrtTypeInfo **c), (a, b, c))
CALL(SessionGetOutputTypeInfo, made, (const OrtSession *a, size_t b, OrtTypeInfo **c), (a, b, c))
CALL(SessionGetInputName, made, (const OrtSession *a, size_t b, OrtAllocator *c, char **d), (a, b, c, d))
CALL(SessionGetOutputName, made, (const OrtSession *a, size_t b, OrtAllocator *c, char **d), (a, b, c, d))
CALL(CreateTensorWithDataAsOrtValue, made,
     (const OrtMemoryInfo *a, void *b, size_t c, const int64_t *d, size_t e, ONNXTensorElementDataType f, OrtValue **g),
     (a, b, c, d, e, f, g))
CALL(GetTensorMutableData, given, (OrtValue * a, void **b), (a, b))
CALL(CastTypeInfoToTensorInfo, given, (const OrtTypeInfo *a, const OrtTensorTypeAndShapeInfo **b), (a, b))
CALL(GetOnnxTypeFromTypeInfo, given, (const OrtTypeInfo *a, enum ONNXType *b), (a, b))
CALL(GetTensorElementType, given, (const OrtTensorTypeAndShapeInfo *a, enum ONNXTensorElementDataType *b), (a, b))
CALL(GetDimensionsCount, given, (const OrtTensorTypeAndShapeInfo *a, size_t *b), (a, b))
CALL(GetDimensions, given, (const OrtTensorTypeAndShapeInfo *a, int64_t *b, size_t c), (a, b, c))
CALL(GetSymbolicDimensions, given, (const OrtTensorTypeAndShapeInfo *a, const char **b, size_t c), (a, b, c))
CALL(GetTensorTypeAndShape, made, (const OrtValue *a, OrtTensorTypeAndShapeInfo **b), (a, b))
CALL(CreateCpuMemoryInfo, made, (enum OrtAllocatorType a, enum OrtMemType b, OrtMemoryInfo **c), (a, b, c))
CALL(AllocatorAlloc, made, (OrtAllocator * a, size_t b, void **c), (a, b, c))
CALL(GetAllocatorWithDefaultOptions, given, (OrtAllocator **a), (a))
CALL(KernelInfoGetAttribute_int64, given, (const OrtKernelInfo *a, const char *b, int64_t *c), (a, b, c))
CALL(KernelContext_GetInputCount, given, (const OrtKernelContext *a, size_t *b), (a, b))
CALL(KernelContext_GetInput, given, (const OrtKernelContext *a, size_t b, const OrtValue **c), (a, b, c))
CALL(KernelContext_GetOutput, given, (OrtKernelContext * a, size_t b, const int64_t *c, size_t d, OrtValue **e),
     (a, b, c, d, e))
CALL(KernelInfoGetAttributeArray_int64, given, (const OrtKernelInfo *a, const char *b, int64_t *c, size_t *d), (a, b, c, d))
CALL(HasSessionConfigEntry, given, (const OrtSessionOptions *a, const char *b, int *c), (a, b, c))
CALL(KernelInfoGetConstantInput_tensor, given, (const OrtKernelInfo *a, size_t b, int *c, const OrtValue **d), (a, b, c, d))
CALL(KernelContext_GetAllocator, made, (const OrtKernelContext *a, const OrtMemoryInfo *b, OrtAllocator **c), (a, b, c))
CALL(KernelContext_ParallelFor, given,
     (const OrtKernelContext *a, void (*b)(void *, size_t), size_t c, size_t d, void *e), (a, b, c, d, e))

/* Outputs that the caller gave are its own. */
static OrtStatus *ORT_API_CALL f_Run(OrtSession *a, const OrtRunOptions *b, const char *const *c, const OrtValue *const *d,
                                     size_t e, const char *const *f, size_t n, OrtValue **out) {
  if (hit("Run")) return injected();
  int64_t missing = 0;
  for (size_t i = 0; i < n; i++) missing += out[i] == NULL;
  OrtStatus *s = real->Run(a, b, c, d, e, f, n, out);
  for (size_t i = 0; i < n; i++) missing -= out[i] == NULL;
  atomic_fetch_add(&shared->live, missing);
  return given(s);
}

/* Frees all the same: a failure to free must not be a leak of the test's own. */
static OrtStatus *ORT_API_CALL f_AllocatorFree(OrtAllocator *a, void *p) {
  if (p != NULL) atomic_fetch_sub(&shared->live, 1);
  OrtStatus *s = given(real->AllocatorFree(a, p));
  return hit("AllocatorFree") ? injected() : s;
}

static OrtStatus *ORT_API_CALL f_CreateStatus(OrtErrorCode code, const char *text) { return given(real->CreateStatus(code, text)); }

#define RELEASE(name, type, count)                          \
  static void ORT_API_CALL f_Release##name(type *p) {       \
    if (p != NULL) atomic_fetch_sub(&shared->count, 1);     \
    real->Release##name(p);                                 \
  }

RELEASE(Status, OrtStatus, status)
RELEASE(MemoryInfo, OrtMemoryInfo, live)
RELEASE(Value, OrtValue, live)
RELEASE(TypeInfo, OrtTypeInfo, live)
RELEASE(TensorTypeAndShapeInfo, OrtTensorTypeAndShapeInfo, live)
RELEASE(CustomOpDomain, OrtCustomOpDomain, live)
RELEASE(Allocator, OrtAllocator, live)

static void fill(void) {
  table = *real;
#define USE(name) table.name = f_##name
  USE(CreateCustomOpDomain), USE(CustomOpDomain_Add), USE(AddCustomOpDomain), USE(SessionGetInputCount);
  USE(SessionGetOutputCount), USE(SessionGetInputTypeInfo), USE(SessionGetOutputTypeInfo), USE(SessionGetInputName);
  USE(SessionGetOutputName), USE(CreateTensorWithDataAsOrtValue), USE(GetTensorMutableData), USE(CastTypeInfoToTensorInfo);
  USE(GetOnnxTypeFromTypeInfo), USE(GetTensorElementType), USE(GetDimensionsCount), USE(GetDimensions);
  USE(GetSymbolicDimensions), USE(GetTensorTypeAndShape), USE(CreateCpuMemoryInfo), USE(AllocatorAlloc);
  USE(GetAllocatorWithDefaultOptions), USE(KernelInfoGetAttribute_int64), USE(KernelContext_GetInputCount);
  USE(KernelContext_GetInput), USE(KernelContext_GetOutput), USE(KernelInfoGetAttributeArray_int64);
  USE(HasSessionConfigEntry), USE(KernelInfoGetConstantInput_tensor), USE(KernelContext_GetAllocator);
  USE(KernelContext_ParallelFor), USE(Run), USE(AllocatorFree), USE(CreateStatus), USE(ReleaseStatus), USE(ReleaseMemoryInfo);
  USE(ReleaseValue), USE(ReleaseTypeInfo), USE(ReleaseTensorTypeAndShapeInfo), USE(ReleaseCustomOpDomain);
  USE(ReleaseAllocator);
}

static const OrtApi *ORT_API_CALL get_api(uint32_t version) { return version == ORT_API_VERSION ? &table : NULL; }
static const char *ORT_API_CALL get_version(void) { return real_base->GetVersionString(); }
static const OrtApiBase base = {get_api, get_version};

const OrtApiBase *OrtGetApiBase(void) {
  if (real != NULL) return &base;
  const char *library = getenv("AFTONNX_TEST_REAL"), *file = getenv("AFTONNX_TEST_CONTROL");
  void *handle = library == NULL ? NULL : dlopen(library, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
  int fd = file == NULL ? -1 : open(file, O_RDWR);
  if (handle == NULL || fd < 0) return NULL;
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (shared == MAP_FAILED) return NULL;
  real_base = ((const OrtApiBase *(*)(void))dlsym(handle, "OrtGetApiBase"))();
  real = real_base->GetApi(ORT_API_VERSION);
  if (real == NULL) return NULL;
  fill();
  return &base;
}
