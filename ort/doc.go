// Package ort runs ONNX models in ONNX Runtime from Go, with the fused kernels of the operator set "ai.aft" registered.
//
//	rt, err := ort.Open(ctx, ort.Options{})           // finds the library, or fetches it once
//	defer rt.Close()
//	s, err := rt.Load("model.onnx", ort.SessionOptions{Threads: 2})
//	defer s.Close()
//	x, err := ort.NewTensor([]int{1, 4, 8}, []float32{...})
//	out, err := s.Run(ctx, map[string]*ort.Tensor{"x": x})
//	y, err := ort.Values[float32](out["y"])
//
// # Finding the library
//
// Open takes the first of these that there is: Options.Library, the environment variables AFTONNX_ORT_LIB and
// ONNXRUNTIME_SHARED_LIBRARY_PATH, the cache, the system's library directories, and what Fetch gets: the project's
// release archive, else the npm package onnxruntime-node. A path that was given and does not work is an error, never a
// reason to go on. The working directory and the model's directory are never searched. Every file that was fetched is
// held against SHA-256 sums in this package, each time it is used. Options.Offline or AFTONNX_OFFLINE=1 forbids
// fetching. ONNX Runtime 1.24 or newer is needed.
//
// # What it guarantees
//
// All of Runtime and Session may be used from many goroutines at once. Run checks names, types and shapes before
// anything reaches C. Outputs are ordinary Go memory. Close waits for runs in flight. The floating-point mode of the
// calling thread is left alone. KernelCalls counts what the ai.aft kernels ran, which is how a program proves that a
// model did not fall back to its function bodies.
//
// # What is process-wide
//
// ONNX Runtime has one environment a process: the first Open makes it, the last Close of a Runtime and its Sessions ends
// it, and a second Open meanwhile shares it. A library that was opened for use stays loaded until the process ends, as its
// threads and thread-local data cannot be unloaded safely; one that was only asked for its version is unloaded again.
//
// The package knows nothing of checkpoints, exporters or the command line, and prints nothing. Without cgo it still
// builds, finds and fetches; Open then returns an error.
package ort
