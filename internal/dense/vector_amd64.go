package dense

import "golang.org/x/sys/cpu"

// vectors reports whether the machine has the instructions of vector_amd64.s.
func vectors() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA }

// weighTile adds to 4 rows of 8 columns of out, its rows n apart, the product of 4 rows of x, k apart, and `terms` rows of 8
// elements of y.
//
//go:noescape
func weighTile(out *float64, n int, x *float64, k int, y *float64, terms int)

// wide reports whether the machine has the instructions of weighWide.
func wide() bool { return cpu.X86.HasAVX512F }

// weighWide is weighTile for 16 columns, and rows of 16 elements of y.
//
//go:noescape
func weighWide(out *float64, n int, x *float64, k int, y *float64, terms int)

// weigh32 adds to 32 elements of out the rows of y, stride apart, each times its weight.
//
//go:noescape
func weigh32(out *float64, x *float64, terms int, y *float64, stride int)

// weigh8 is weigh32 for 8 elements.
//
//go:noescape
func weigh8(out *float64, x *float64, terms int, y *float64, stride int)
