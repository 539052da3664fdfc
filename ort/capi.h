/* What this package uses of ONNX Runtime's C API, and nothing else: some slots of the function table OrtApi by their
 * index, and the members of OrtCustomOp up to version 17. The table only ever grows at its end. A test compares every
 * index, signature and member with the header that the onnxruntime_go module ships.
 *
 * Enumerations of the API are uint32_t here. */
#ifndef AFT_ORT_CAPI_H
#define AFT_ORT_CAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtApi OrtApi;
typedef struct OrtCustomOp OrtCustomOp;

enum {
  AFT_ORT_API = 24,       /* the table asked for: ONNX Runtime 1.24 */
  AFT_ORT_CUSTOM_OP = 17, /* the OrtCustomOp that is written: libraries refuse a newer one than themselves */

  AFT_ORT_FAIL = 1,
  AFT_ORT_INVALID_ARGUMENT = 2,
  AFT_ORT_TYPE_TENSOR = 1,
  AFT_ORT_ARENA_ALLOCATOR = 1,
  AFT_ORT_MEM_DEFAULT = 0,
  AFT_ORT_REQUIRED = 0
};

/* X(index, result, name, parameters) */
#define AFT_ORT_SLOTS(X)                                                                                               \
  X(0, OrtStatus *, CreateStatus, (uint32_t code, const char *message))                                                \
  X(2, const char *, GetErrorMessage, (const OrtStatus *status))                                                       \
  X(9, OrtStatus *, Run,                                                                                               \
    (OrtSession * session, const OrtRunOptions *options, const char *const *input_names,                               \
     const OrtValue *const *inputs, size_t n_in, const char *const *output_names, size_t n_out, OrtValue **outputs))   \
  X(26, OrtStatus *, CreateCustomOpDomain, (const char *name, OrtCustomOpDomain **out))                                \
  X(27, OrtStatus *, CustomOpDomain_Add, (OrtCustomOpDomain * domain, const OrtCustomOp *op))                          \
  X(28, OrtStatus *, AddCustomOpDomain, (OrtSessionOptions * options, OrtCustomOpDomain *domain))                      \
  X(30, OrtStatus *, SessionGetInputCount, (const OrtSession *session, size_t *out))                                   \
  X(31, OrtStatus *, SessionGetOutputCount, (const OrtSession *session, size_t *out))                                  \
  X(33, OrtStatus *, SessionGetInputTypeInfo, (const OrtSession *session, size_t index, OrtTypeInfo **out))            \
  X(34, OrtStatus *, SessionGetOutputTypeInfo, (const OrtSession *session, size_t index, OrtTypeInfo **out))           \
  X(36, OrtStatus *, SessionGetInputName,                                                                              \
    (const OrtSession *session, size_t index, OrtAllocator *allocator, char **out))                                    \
  X(37, OrtStatus *, SessionGetOutputName,                                                                             \
    (const OrtSession *session, size_t index, OrtAllocator *allocator, char **out))                                    \
  X(49, OrtStatus *, CreateTensorWithDataAsOrtValue,                                                                   \
    (const OrtMemoryInfo *memory, void *data, size_t bytes, const int64_t *dims, size_t rank, uint32_t type,           \
     OrtValue **out))                                                                                                  \
  X(51, OrtStatus *, GetTensorMutableData, (OrtValue * value, void **out))                                             \
  X(55, OrtStatus *, CastTypeInfoToTensorInfo, (const OrtTypeInfo *type, const OrtTensorTypeAndShapeInfo **out))       \
  X(56, OrtStatus *, GetOnnxTypeFromTypeInfo, (const OrtTypeInfo *type, uint32_t *out))                                \
  X(60, OrtStatus *, GetTensorElementType, (const OrtTensorTypeAndShapeInfo *info, uint32_t *out))                     \
  X(61, OrtStatus *, GetDimensionsCount, (const OrtTensorTypeAndShapeInfo *info, size_t *out))                         \
  X(62, OrtStatus *, GetDimensions, (const OrtTensorTypeAndShapeInfo *info, int64_t *dims, size_t rank))               \
  X(63, OrtStatus *, GetSymbolicDimensions,                                                                            \
    (const OrtTensorTypeAndShapeInfo *info, const char **names, size_t rank))                                          \
  X(65, OrtStatus *, GetTensorTypeAndShape, (const OrtValue *value, OrtTensorTypeAndShapeInfo **out))                  \
  X(69, OrtStatus *, CreateCpuMemoryInfo, (int32_t allocator, int32_t memory, OrtMemoryInfo **out))                    \
  X(75, OrtStatus *, AllocatorAlloc, (OrtAllocator * allocator, size_t bytes, void **out))                             \
  X(76, OrtStatus *, AllocatorFree, (OrtAllocator * allocator, void *p))                                               \
  X(78, OrtStatus *, GetAllocatorWithDefaultOptions, (OrtAllocator **out))                                             \
  X(86, OrtStatus *, KernelInfoGetAttribute_int64, (const OrtKernelInfo *info, const char *name, int64_t *out))        \
  X(88, OrtStatus *, KernelContext_GetInputCount, (const OrtKernelContext *context, size_t *out))                      \
  X(90, OrtStatus *, KernelContext_GetInput, (const OrtKernelContext *context, size_t index, const OrtValue **out))    \
  X(91, OrtStatus *, KernelContext_GetOutput,                                                                          \
    (OrtKernelContext * context, size_t index, const int64_t *dims, size_t rank, OrtValue **out))                      \
  X(93, void, ReleaseStatus, (OrtStatus * status))                                                                     \
  X(94, void, ReleaseMemoryInfo, (OrtMemoryInfo * info))                                                               \
  X(96, void, ReleaseValue, (OrtValue * value))                                                                        \
  X(98, void, ReleaseTypeInfo, (OrtTypeInfo * type))                                                                   \
  X(99, void, ReleaseTensorTypeAndShapeInfo, (OrtTensorTypeAndShapeInfo * info))                                       \
  X(101, void, ReleaseCustomOpDomain, (OrtCustomOpDomain * domain))                                                    \
  X(132, void, ReleaseAllocator, (OrtAllocator * allocator))                                                           \
  X(163, OrtStatus *, KernelInfoGetAttributeArray_int64,                                                               \
    (const OrtKernelInfo *info, const char *name, int64_t *out, size_t *size))                                         \
  X(237, OrtStatus *, HasSessionConfigEntry, (const OrtSessionOptions *options, const char *key, int *out))            \
  X(249, OrtStatus *, KernelInfoGetConstantInput_tensor,                                                               \
    (const OrtKernelInfo *info, size_t index, int *is_constant, const OrtValue **out))                                 \
  X(253, OrtStatus *, KernelContext_GetAllocator,                                                                      \
    (const OrtKernelContext *context, const OrtMemoryInfo *memory, OrtAllocator **out))                                \
  X(274, OrtStatus *, KernelContext_ParallelFor,                                                                       \
    (const OrtKernelContext *context, void (*fn)(void *, size_t), size_t total, size_t batches, void *arg))            \
  X(390, bool, TensorTypeAndShape_HasShape, (const OrtTensorTypeAndShapeInfo *info))

#define AFT_ORT_DECLARE(index, result, name, parameters)                                                               \
  enum { AFT_SLOT_##name = index };                                                                                    \
  typedef result(*aft_fn_##name) parameters;
AFT_ORT_SLOTS(AFT_ORT_DECLARE)
#undef AFT_ORT_DECLARE

typedef void (*aft_slot)(void);

/* The table of the library that is open; set before any session exists. */
extern const aft_slot *aft_ort_api;

#define ORT(name) ((aft_fn_##name)aft_ort_api[AFT_SLOT_##name])

/* OrtApiBase, what the library's one exported function returns. */
typedef struct {
  const OrtApi *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} aft_ort_base;

/* OrtCustomOp of version 17. */
typedef struct {
  uint32_t version;
  void *(*CreateKernel)(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info);
  const char *(*GetName)(const OrtCustomOp *op);
  const char *(*GetExecutionProviderType)(const OrtCustomOp *op);
  uint32_t (*GetInputType)(const OrtCustomOp *op, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp *op);
  uint32_t (*GetOutputType)(const OrtCustomOp *op, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp *op);
  void (*KernelCompute)(void *kernel, OrtKernelContext *context);
  void (*KernelDestroy)(void *kernel);
  uint32_t (*GetInputCharacteristic)(const OrtCustomOp *op, size_t index);
  uint32_t (*GetOutputCharacteristic)(const OrtCustomOp *op, size_t index);
  int32_t (*GetInputMemoryType)(const OrtCustomOp *op, size_t index);
  int (*GetVariadicInputMinArity)(const OrtCustomOp *op);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp *op);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp *op);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp *op);
  OrtStatus *(*CreateKernelV2)(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel);
  OrtStatus *(*KernelComputeV2)(void *kernel, OrtKernelContext *context);
  OrtStatus *(*InferOutputShapeFn)(const OrtCustomOp *op, void *context);
  int (*GetStartVersion)(const OrtCustomOp *op);
  int (*GetEndVersion)(const OrtCustomOp *op);
} aft_ort_custom_op;

#endif
