//go:build cgo

package bench

import (
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/ort"
)

// Every network is timed at every position, with the state that its form of attention needs: three numbers a channel, those and
// the keys and values of a window, or those of all tokens.
func TestDecoding(t *testing.T) {
	rt, err := ort.Open(t.Context(), ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	rows, err := Run(t.Context(), rt, Options{Decoding: []int{5, 40}, Threads: 1, Plan: Plan{Repeats: 1, Rounds: 1, Runs: 1}})
	if err != nil {
		t.Fatal(err)
	}
	const channel, heads = 4 * decodeBlocks * decodeDim, 4 * decodeBlocks * decodeHeads // bytes of a number a channel, a head
	want := map[string]func(position int) int{
		DecodeSimple:    func(int) int { return 3 * channel },
		DecodeLocal:     func(int) int { return (3 + 2*(decodeWindow-1)) * channel },
		DecodeConv:      func(int) int { return decodeTaps*channel + (2+decodeTaps-1)*heads },
		DecodeFull:      func(position int) int { return 2 * (position + 1) * channel },
		DecodeAttention: func(position int) int { return 2 * position * channel },
	}
	seen := map[string]int{}
	for _, row := range rows {
		position, ok := decodePosition(row)
		if !ok || want[row.Graph] == nil {
			t.Fatalf("row %+v", row)
		}
		if got := want[row.Graph](position); row.StateBytes != got {
			t.Errorf("%s at %d: a state of %d bytes, want %d", row.Graph, position, row.StateBytes, got)
		}
		if row.MedianMS <= 0 || row.Ratio <= 0 {
			t.Errorf("%s at %d: %v ms, ratio %v", row.Graph, position, row.MedianMS, row.Ratio)
		}
		seen[row.Graph+string(row.Engine)]++
	}
	if len(seen) != 9 || seen[DecodeAttention+string(MHA)] != 2 {
		t.Errorf("rows %v, want two of each of four networks on two engines, and of the Transformer", seen)
	}
	table := Markdown(&Report{Results: rows})
	for _, want := range []string{"| network | engine | 5 | 40 |", "| AFT-simple | kernel | ", "(12 KiB)", "| Transformer | mha | "} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if plot := Plot(rows); strings.Count(plot, "<polyline") != 5 || !strings.Contains(plot, "tokens before") {
		t.Errorf("the plot:\n%s", plot)
	}
}
