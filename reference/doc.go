// Package reference is AFT in Go: the definition that every other engine is checked against.
//
// It computes the equations of "An Attention Free Transformer" (Zhai et al. 2021, arXiv:2105.14103) in float64 with plain
// loops: the five operators (AFTFull, AFTSimple, AFTLocal, AFTConv1D, AFTConv2D), the folding of learned biases into the
// form the operators take, a layer (projections around an operator) and a stack of layers. Every file holds one of them.
//
// Letters: B batch, T query positions, S source positions, D channels, H heads. All arrays are row-major.
//
// What holds for all operators:
//
//   - Any finite K and W: sums are of exp(K+W-m) with m the largest K+W of that very row and channel, so there is always a
//     term exp(0) and never 0/0. V may be as large as sums of S values allow.
//   - K = -inf removes a source whatever V (or W) holds there, W = -inf removes a pair; a row with nothing left is 0 before
//     the gate.
//   - NaN or +Inf in K or V spoils that channel (conv: that head) of that batch entry in the rows that see it, in W that row
//     (conv: that head). NaN never becomes a number.
//   - B = 0 or T = 0 give an empty result, S = 0 with T > 0 gives 0 before the gate.
//   - Every core is used; an output is computed by one goroutine in a fixed order, so their number changes no bit.
//
// Data never causes a panic: what does not fit is an error that names the operator, the input, what was found and what is
// allowed. The package knows no file format and no other engine.
package reference
