package dialect

import "github.com/aftonnx/aftonnx/reference"

// form is how the tensors of a set hold position biases.
type form int

const (
	noBias        form = iota
	pairTable          // (N,N): row = the position that looks
	maskedTable        // (N,N) and a mask (N,N) that is true where |t-t'| < s
	factors            // u and v, (N,R) each: the bias is u v^T, eq. 7
	kernel             // (h,s), (h,kh,kw) or (h,1,kh,kw); with gamma and beta, eq. 8
	tableOrKernel      // our own "w": the variant or its shape tells
)

// biasSet is one of the sets of tensors that may stand beside a dialect's projections.
type biasSet struct {
	form    form
	tensors []string // by role: table and mask; u and v; kernel, gamma and beta
	// variant is assumed when nothing says otherwise; empty: ask, unless the form allows only one.
	variant string
	note    string // said when variant was assumed
	reparam reference.Reparam
}

// causality is what a dialect says about a layer being causal when neither flags nor configs do.
type causality int

const (
	neverCausal    causality = iota // its code has no causal mode
	alwaysCausal                    // its code has no other mode
	unsaid                          // decided at run time
	unsaidForLocal                  // as neverCausal, but its AFT-local can be either
)

// dialect is one naming of an AFT layer. Weights are (out,in), biases optional, as torch.nn.Linear has them.
type dialect struct {
	name       string
	q, k, v    string
	out        string // empty: no output projection
	outMissing bool   // the output projection may be missing
	biases     []biasSet
	causal     causality
	why        string // why causality is unsaid
	windowNote string // how its own window compares with s
	stored     bool   // the config inside the checkpoint is ours to read
	refused    map[string]string
}

// dialects is the table. Names and rules come from reading the implementations; none of their code is here.
func dialects() []dialect {
	return []dialect{
		{
			// layers.N.*, what examples/train writes.
			name: "aftonnx", q: "q", k: "k", v: "v", out: "out", outMissing: true,
			biases: []biasSet{
				{form: factors, tensors: []string{"u", "v_t"}},
				{form: kernel, tensors: []string{"w", "gamma", "beta"}, reparam: reference.Reparam{Eps: 1e-6}},
				{form: tableOrKernel, tensors: []string{"w"}},
				{form: noBias},
			},
			causal: unsaid, why: "the checkpoint carries no config that says so", stored: true,
		},
		{
			// rish-16/aft-pytorch. Its AFTLocal multiplies its table by the window in every forward.
			name: "rish", q: "to_q", k: "to_k", v: "to_v", out: "project",
			biases: []biasSet{
				{form: pairTable, tensors: []string{"wbias"}, variant: "full",
					note: "read as AFT-full; a layer trained as AFTLocal needs --variant local --window S"},
				{form: noBias},
			},
		},
		{
			// labmlai/annotated_deep_learning_paper_implementations. (T,B,D) there; a layer does not mind.
			name: "labml", q: "query", k: "key", v: "value", out: "output",
			biases: []biasSet{{form: maskedTable, tensors: []string{"pos_bias", "local_mask"}}},
			causal: unsaid, why: "this implementation gets its mask when it runs",
		},
		{
			// xmu-xiaoma666/External-Attention-pytorch.
			name: "xmu", q: "fc_q", k: "fc_k", v: "fc_v",
			biases: []biasSet{{form: pairTable, tensors: []string{"position_biases"}, variant: "full"}, {form: noBias}},
		},
		{
			// blakechi/ComVEX. Its AFT-local never ran, its AFT-simple never sums over positions, its AFT-conv convolves
			// K where the paper convolves exp(K).
			name: "comvex", q: "Q", k: "K", v: "V", out: "out_linear",
			biases:  []biasSet{{form: factors, tensors: []string{"u", "v"}, variant: "full"}, {form: noBias, variant: ask}},
			refused: map[string]string{"w_norm.weight": "a ComVEX AFTConv, which convolves K where AFT-conv convolves exp(K)"},
		},
		{
			// Su569926/aft.
			name: "su", q: "to_q", k: "to_k", v: "to_v", out: "out_proj",
			biases: []biasSet{
				{form: kernel, tensors: []string{"position_bias", "position_gain", "position_offset"},
					reparam: reference.Reparam{Eps: 1e-6, Limit: 3}},
				{form: pairTable, tensors: []string{"position_bias"}, variant: "full",
					note: "read as AFT-full; a layer trained as AFTLocal needs --variant local, --window S and --causal"},
				{form: factors, tensors: []string{"position_u", "position_v"}, variant: "local"},
				{form: noBias},
			},
			causal: unsaidForLocal, why: "its AFTLocal can be either", windowNote: "its local_window_size + 1",
			refused: map[string]string{"relative_bias": "an AFTConv that masks everything outside its window, which is not AFT-conv"},
		},
		{
			// NidheeshK7/SAiDL-Summer-Assignment--2026.
			name: "nid", q: "W_q", k: "W_k", v: "W_v", out: "out_proj",
			biases: []biasSet{
				{form: factors, tensors: []string{"pos_bias_u", "pos_bias_v"}},
				{form: kernel, tensors: []string{"w", "gamma", "beta"}, reparam: reference.Reparam{Unbiased: true, Eps: 1e-6}},
				{form: noBias},
			},
			causal: alwaysCausal,
		},
	}
}

// ask as a biasSet's variant: even a form that allows one variant needs the flag.
const ask = "?"
