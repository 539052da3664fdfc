// Package factored computes the operators of AFT in float64 from products of exponentials, exp(K+W) = exp(K) exp(W), instead of an
// exponential for every pair and channel as package reference does: matrix products and running sums.
//
// Keys are shifted by the largest of their column and biases by the largest of their row before exp, so that nothing
// overflows. What underflows beside a denominator that is a normal number does not count; for elements whose denominator is not, or
// that something not finite reaches, the definition has to be asked. So what is known is what package reference gives, to about 1e-14.
//
// The package takes calls that ops.Def.Check has accepted. It must not know graphs.
package factored
