// Package kernel holds the fused AFT kernels: C11 behind one checked entry, aft_run (aft.h), and their Go side.
//
// It owns the arithmetic, the operator table that ONNX Runtime's glue registers (zops.c, generated from package ops),
// and the call counters that prove which engine ran. It knows nothing of ONNX Runtime: threads and memory come from
// the caller. Run calls a kernel directly, for tests and cross-checks.
//
// The C files: aft.c is the entry (checks, counters, tasks); aft_internal.h and aft_block.c what the kernels share and
// why the numbers are right; one aft_<op>.c an operator; aft_window.c the sums of the three operators with a window;
// host.c the threads and memory of Run. Without cgo the package builds and says why it cannot compute.
package kernel

//go:generate go run ./gen
