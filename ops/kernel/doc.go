// Package kernel holds the fused AFT kernels: C11 behind one checked entry, aft_run (aft.h), and their Go side.
//
// It owns the arithmetic, the operator table that ONNX Runtime's glue registers (zops.c, generated from package ops),
// and the call counters that prove which engine ran. It knows nothing of ONNX Runtime: threads and memory come from
// the caller. Run calls a kernel directly, for tests and cross-checks.
//
// The C files. aft.c is the entry: checks, counters, tasks. One aft_<op>.c an operator has its checks and its kernel in
// double, over aft_internal.h, aft_block.c and, for the three operators with a window, aft_window.c. float and float16
// are computed by vectors: aft_simd.h says what those leave to double and why nothing is missed, aft_vec.h is a vector,
// aft_tile_simd.h the product in the middle, aft_exact_simd.h the way back to the logits, aft_<op>_simd.h an operator
// (aft_line_simd.h AFTLocal and AFTConv1D). The step forms are one kernel: aft_step.c has what their aft_<op>_step.c share, the
// kernel in double among it, aft_step_simd.h the one in float. Each aft_simd_<instructions>.c compiles all of them once, and aft_simd.c
// chooses. host.c is the threads and memory of Run. Without cgo the package builds and says why it cannot compute.
package kernel

//go:generate go run ./gen
