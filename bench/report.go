package bench

import "runtime"

// Engine is what was timed.
type Engine string

// The engines. Floor is no engine: the time that the operator's own memory traffic, exponentials and multiply-adds take
// at the speed of this machine's memory and of ONNX Runtime's operators, measured in the same run.
const (
	Kernel   Engine = "kernel"   // our operator with its kernels
	Portable Engine = "portable" // the same model without them: the function body
	User     Engine = "user"     // the graph that a user would have; the fastest of those in use
	MHA      Engine = "mha"      // com.microsoft.MultiHeadAttention, as many channels
	Floor    Engine = "floor"
)

// Report is one run.
type Report struct {
	Schema      string  `json:"schema"`
	Version     string  `json:"version"`
	Machine     Machine `json:"machine"`
	ONNXRuntime string  `json:"onnxruntime"`
	Threads     int     `json:"threads"`
	Spinning    bool    `json:"spinning"` // whether idle threads of ONNX Runtime spin
	Repeats     int     `json:"repeats"`
	Results     []Row   `json:"results"`
}

// Machine is what was measured on.
type Machine struct {
	OS           string `json:"os"`
	Arch         string `json:"arch"`
	CPU          string `json:"cpu,omitempty"`
	Cores        int    `json:"cores"`
	Instructions string `json:"instructions"` // that the kernels use
}

// Row is one engine at one case. Times are of whole runs, with inputs and outputs in place.
type Row struct {
	Case     string     `json:"case"`
	Engine   Engine     `json:"engine"`
	Graph    string     `json:"graph,omitempty"` // which of a user's graphs, what the floor is made of
	DType    string     `json:"dtype"`
	Input    Input      `json:"input,omitempty"` // what is unusual about K
	MedianMS float64    `json:"median_ms"`       // of the repeats' medians
	BestMS   float64    `json:"best_ms"`
	Ratio    float64    `json:"ratio_to_kernel"`  // its time divided by that of the kernel in float32 on ordinary input
	Spread   [2]float64 `json:"spread"`           // the least and the largest ratio of a repeat
	GFLOPS   float64    `json:"gflops,omitempty"` // 2 a multiply-add of exp(K+W) with V and with 1
	GBS      float64    `json:"gbps"`             // operands read and written once, W left out
	PeakMiB  float64    `json:"peak_mib,omitempty"`
	// StateBytes is what a sequence's state takes at a case of decoding: a token after so many, one run.
	StateBytes int `json:"state_bytes,omitempty"`
	Runs       int `json:"runs"`
}

// ThisMachine describes the machine at hand.
func ThisMachine(instructions []string) Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), CPU: processor()}
	if n := len(instructions); n > 0 {
		m.Instructions = instructions[n-1]
	}
	return m
}
