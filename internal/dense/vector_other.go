//go:build !amd64

package dense

// vectors is false: there are none for this machine.
func vectors() bool { return false }

func weighTile(out *float64, n int, x *float64, k int, y *float64, terms int) { panic("no vectors") }

func wide() bool { return false }

func weighWide(out *float64, n int, x *float64, k int, y *float64, terms int) { panic("no vectors") }

func weigh32(out *float64, x *float64, terms int, y *float64, stride int) { panic("no vectors") }

func weigh8(out *float64, x *float64, terms int, y *float64, stride int) { panic("no vectors") }
