// Package dense multiplies matrices of float64: what the native engine spends its time in.
//
// Every element of a result is a chain of multiply-adds in the order of the inner dimension, each rounded once where the machine
// has such an instruction and twice where it has not. Neither the number of cores that share the rows nor the place of an
// element in a tile changes a bit. No term is left out because a factor is 0: 0 times Inf is NaN.
//
// It knows slices and sizes, and neither shapes nor operators.
package dense
