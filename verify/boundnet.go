package verify

import (
	"math"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

// What a network puts around its layers, with the names of bound.go:
//
//	s = a + b, where a's noise may be part of b's (a residual):
//	    dev s = dev a + dev b, at most, whatever they have in common; var s = (dev s)^2 + u^2 s^2
//	y_i = g_i n_i + b_i, n_i = (x_i - mean) / sigma over d channels (LayerNorm):
//	    dy_i/dx_j = g_i/sigma ([i=j] - (1 + n_i n_j)/d)
//	    var y_i = (g_i/sigma)^2 (var x_i (1 - 2 (1+n_i^2)/d) + mean((1 + n_i n_j)^2 var x_j)/d)
//	            + (g_i/sigma)^2 var mean + (g_i n_i)^2 (var sigma^2/(4 sigma^4) + 4u^2) + u^2 y_i^2
//	    var mean = u^2 (d/6+1) (mean(x^2)/d + mean^2)
//	    var sigma^2 = u^2 (d/6+1) (mean(x^4)/d + mean(x^2)^2) + 4 mean^2 var mean + u^2 (mean(x^2)^2 + mean^4)
//	  as for an engine that subtracts the square of the mean from the mean of squares
//	y = x (1 + erf(x/sqrt 2))/2 (GELU), p the normal density:
//	    var y = y'^2 var x + (x p x)^2 (2u^2 + c^2) + (x/2)^2 (e^2 + u^2 (1 + erf)^2) + 2 u^2 y^2, y' = (1 + erf)/2 + x p
//	  e is the error of the error function, whose input is rounded too, and c that of the model's square root of 2
//	y = mean over T positions:
//	    var y = sum var x/T^2 + u^2 (T/6+1) (mean(x^2)/T + y^2) + u^2 y^2

// like is zeros of the shape of s.
func like(s signal) signal {
	n := len(s.value.Data)
	return signal{tensor.Array{Shape: s.value.Shape, Data: make([]float64, n)}, make([]float64, n)}
}

// add is a + b, whatever their noises have in common.
func (n noise) add(a, b signal) signal {
	s := like(b)
	for i := range s.variance {
		v := a.value.Data[i] + b.value.Data[i]
		deviation := math.Sqrt(a.variance[i]) + math.Sqrt(b.variance[i])
		s.value.Data[i], s.variance[i] = v, deviation*deviation+n.round(v)
	}
	return s
}

// norm is LayerNorm.
func (n noise) norm(l *reference.LayerNorm, x signal) (signal, error) {
	value, err := l.Forward(x.value)
	if err != nil {
		return signal{}, err
	}
	y := signal{value, make([]float64, len(value.Data))}
	d := l.Dim()
	parallel(len(value.Data)/d, func(r int) {
		row := func(of []float64) []float64 { return of[r*d : (r+1)*d] }
		n.normRow(l, row(y.variance), row(y.value.Data), row(x.value.Data), row(x.variance))
	})
	return y, nil
}

// normRow fills in the variances of a row y of LayerNorm.
func (n noise) normRow(l *reference.LayerNorm, variance, y, x, vx []float64) {
	d := float64(len(x))
	var mean, squares, fourth, central float64
	for _, v := range x {
		mean += v / d
		squares += v * v / d
		fourth += v * v * v * v / d
	}
	for _, v := range x {
		central += (v - mean) * (v - mean) / d
	}
	sigma2 := central + l.Eps
	sigma := math.Sqrt(sigma2)
	u := n.sum * n.sum
	growth := u * (d/6 + 1)
	ofMean := growth * (squares/d + mean*mean)
	ofSigma2 := growth*(fourth/d+squares*squares) + 4*mean*mean*ofMean + u*(squares*squares+mean*mean*mean*mean)
	var carried [3]float64 // mean of n^k var x
	for j, v := range vx {
		nj := (x[j] - mean) / sigma
		carried[0] += v / d
		carried[1] += nj * v / d
		carried[2] += nj * nj * v / d
	}
	relative := ofSigma2/(4*sigma2*sigma2) + 4*u + 2*n.stored*n.stored + n.weight*n.weight
	for i := range x {
		ni, g := (x[i]-mean)/sigma, l.Gain[i]/sigma
		through := vx[i]*max(0, 1-2*(1+ni*ni)/d) + (carried[0]+2*ni*carried[1]+ni*ni*carried[2])/d
		scaled, bias := l.Gain[i]*ni, 0.0
		if l.Bias != nil {
			bias = n.weight * l.Bias[i]
		}
		variance[i] = g*g*(max(0, through)+ofMean) + scaled*scaled*relative + bias*bias + n.round(y[i])
	}
}

// gelu replaces x by its GELU.
func (n noise) gelu(x signal) signal {
	erfUnit := n.stored
	if n.erf >= erfError { // in float, whatever the type of the values
		erfUnit = max(n.stored, 0x1p-24)
	}
	input := n.stored*n.stored + erfUnit*erfUnit + n.root*n.root
	y := like(x)
	for i, v := range x.value.Data {
		twice := math.Erfc(-v / math.Sqrt2) // 1 + erf
		p := math.Exp(-v*v/2) / math.Sqrt(2*math.Pi)
		g := 0.5 * v * twice
		slope, bend := twice/2+v*p, v*p*v
		own := n.erf*n.erf + erfUnit*erfUnit*(twice-1)*(twice-1) + n.stored*n.stored*twice*twice
		y.value.Data[i] = g
		y.variance[i] = slope*slope*x.variance[i] + bend*bend*input + v*v/4*own +
			n.round(g) + n.stored*n.stored*g*g
	}
	return y
}
