/* The ai.aft kernels as custom operators of ONNX Runtime. */
#ifndef AFT_ORT_CUSTOM_OP_H
#define AFT_ORT_CUSTOM_OP_H

#include "capi.h"

/* Makes a domain with an operator for every entry of the kernels' table and every element type. memory must outlive the
 * domain's sessions. */
OrtStatus *aft_ort_make_domain(const OrtMemoryInfo *memory, OrtCustomOpDomain **domain);

#endif
