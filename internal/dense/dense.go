package dense

import "math"

// The tile that the vectors compute at once, and how many terms are summed over before the next rows are: as many as keep the
// tile's columns of y in the nearest cache.
const (
	tileRows    = 4
	tileColumns = 8 // 16 where the vectors are wide
	mostColumns = 16
	blockTerms  = 256
)

// Multiply adds to out (m,n) the product of x (m,k) and y (k,n), all of them row-major without gaps.
func Multiply(out, x, y []float64, m, k, n int) {
	if m == 0 || n == 0 || k == 0 {
		return
	}
	_, _, _ = out[:m*n], x[:m*k], y[:k*n]
	if m < tileRows || !vectors() {
		for r := range m {
			Weigh(out[r*n:(r+1)*n], x[r*k:(r+1)*k], y, n)
		}
		return
	}
	var panel [blockTerms * mostColumns]float64
	whole := n - n%tileColumns
	for from := 0; from < k; from += blockTerms {
		terms := min(blockTerms, k-from)
		columns, tile := tileColumns, weighTile
		if wide() {
			columns, tile = mostColumns, weighWide
		}
		for column := 0; column < whole; column += columns {
			if whole-column < columns {
				columns, tile = tileColumns, weighTile
			}
			for i := range terms {
				copy(panel[i*columns:(i+1)*columns], y[(from+i)*n+column:])
			}
			row := 0
			for ; row+tileRows <= m; row += tileRows {
				tile(&out[row*n+column], n, &x[row*k+from], k, &panel[0], terms)
			}
			for ; row < m; row++ {
				for part := 0; part < columns; part += tileColumns {
					weigh8(&out[row*n+column+part], &x[row*k+from], terms, &panel[part], columns)
				}
			}
		}
		for r := range m {
			weighFew(out[r*n+whole:(r+1)*n], x[r*k+from:r*k+from+terms], y[from*n+whole:], n)
		}
	}
}

// Weigh adds to out the rows of y, each times its weight: out[j] += sum_i x[i] y[i*stride+j].
func Weigh(out, x, y []float64, stride int) {
	if len(out) == 0 || len(x) == 0 {
		return
	}
	_ = y[(len(x)-1)*stride+len(out)-1]
	if !vectors() {
		weighPlain(out, x, y, stride)
		return
	}
	j := 0
	for ; j+32 <= len(out); j += 32 {
		weigh32(&out[j], &x[0], len(x), &y[j], stride)
	}
	for ; j+8 <= len(out); j += 8 {
		weigh8(&out[j], &x[0], len(x), &y[j], stride)
	}
	weighFew(out[j:], x, y[min(j, len(y)):], stride)
}

// weighFew is Weigh for the few columns that fill no vector.
func weighFew(out, x, y []float64, stride int) {
	if !vectors() {
		weighPlain(out, x, y, stride)
		return
	}
	for j := range out {
		sum := out[j]
		for i, w := range x {
			sum = math.FMA(w, y[i*stride+j], sum)
		}
		out[j] = sum
	}
}

// weighPlain is Weigh without vectors. The compiler keeps products and sums apart: written as two statements of float64 they
// are rounded one by one.
func weighPlain(out, x, y []float64, stride int) {
	for i, w := range x {
		row := y[i*stride : i*stride+len(out)]
		for j, v := range row {
			out[j] += float64(w * v)
		}
	}
}
