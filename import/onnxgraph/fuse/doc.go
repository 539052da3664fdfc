// Package fuse finds Attention Free Transformer layers that a model writes out in standard operators, and replaces each by
// its ai.aft operator.
//
// It knows no exporter and no template. A value of the graph is written in index notation, element by element:
//
//	MatMul(A, B)[t,d]  =  sum_s A[t,s] B[s,d]        CumSum(A)[t,d] = sum_s [s <= t] A[s,d]
//	Softmax(A)[s,d]    =  exp(A[s,d]) / sum_s' exp(A[s',d])
//
// and brought into a normal form, a sum of products of powers in which layout operators (Transpose, Reshape, Unsqueeze ...)
// leave no trace, exp(a+b) is exp(a) exp(b), and factors that do not depend on the index of a sum stand before it. There, all
// ways to write AFT are one:
//
//	gate(Q) * sum_s C[t,s] exp(K[s]) V[s] / sum_s C[t,s] exp(K[s])
//
// in which maxima that were subtracted have cancelled. C, everything that depends on neither input nor batch, is computed:
// its numbers say which operator it is, causal or not, a band, a kernel.
//
// What is constant, what depends on shapes alone and how long axes are is learned by running the model natively on inputs of
// two sizes. What the fuser finds is a claim: whoever uses it compares the fused model with the original.
//
// The package must not know ONNX Runtime, files or how a claim is proven.
package fuse
