package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Markdown is the report as the tables of docs/performance.md.
func Markdown(r *Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Machine: %s, %d cores, kernels for %s. ONNX Runtime %s, %d threads, %s. %d repeats.\n\n",
		machineName(r.Machine), r.Machine.Cores, r.Machine.Instructions, r.ONNXRuntime, r.Threads, spinning(r.Spinning), r.Repeats)
	if len(r.Results) > 0 {
		if _, decoding := decodePosition(r.Results[0]); decoding {
			r.decoding(&b)
			return b.String()
		}
	}
	b.WriteString("| case | kernel ms | body | user's graph | MultiHeadAttention | floor | GFLOP/s | GB/s | peak MiB |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, k := range r.Results {
		if k.Engine != Kernel || k.Input != Ordinary || k.DType != "float32" {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", k.Case, number(k.MedianMS), r.ratio(k.Case, Portable),
			r.ratio(k.Case, User), r.ratio(k.Case, MHA), r.ratio(k.Case, Floor), number(k.GFLOPS), number(k.GBS), number(k.PeakMiB))
	}
	b.WriteString("\nEngines' columns: their time divided by the kernel's, in brackets the least and the largest of the repeats.\n")
	b.WriteString("\n| case | float16 | keys growing | keys of 10^4 | keys masked |\n|---|---|---|---|---|\n")
	for _, k := range r.Results {
		if k.Engine == Kernel && k.Input == Ordinary && k.DType == "float32" && r.find(k.Case, Kernel, Growing, "float32") != nil {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", k.Case, short(r.find(k.Case, Kernel, Ordinary, "float16")),
				short(r.find(k.Case, Kernel, Growing, "float32")), short(r.find(k.Case, Kernel, Large, "float32")),
				short(r.find(k.Case, Kernel, Masked, "float32")))
		}
	}
	b.WriteString("\nTime divided by that of the same case in float32 on ordinary input.\n")
	return b.String()
}

// decoding is a table of milliseconds a token, a column a position, and one of the state.
func (r *Report) decoding(b *strings.Builder) {
	var positions, networks []string
	cells := map[string]string{}
	for _, row := range r.Results {
		position, _ := decodePosition(row)
		at, network := strconv.Itoa(position), row.Graph+" | "+string(row.Engine)
		if !slices.Contains(positions, at) {
			positions = append(positions, at)
		}
		if !slices.Contains(networks, network) {
			networks = append(networks, network)
		}
		cells[network+at] = fmt.Sprintf("%s (%s)", number(row.MedianMS), size(row.StateBytes))
	}
	fmt.Fprintf(b, "| network | engine | %s |\n|---|---|%s\n", strings.Join(positions, " | "), strings.Repeat("---|", len(positions)))
	for _, network := range networks {
		fmt.Fprintf(b, "| %s |", network)
		for _, at := range positions {
			fmt.Fprintf(b, " %s |", cells[network+at])
		}
		b.WriteString("\n")
	}
	b.WriteString("\nMilliseconds a token, by the tokens before it; in brackets the state of a sequence.\n")
}

// size is a number of bytes in its largest unit.
func size(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.0f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", bytes)
}

func machineName(m Machine) string {
	if m.CPU == "" {
		return m.OS + "/" + m.Arch
	}
	return m.CPU
}

func spinning(on bool) string {
	if on {
		return "idle threads spin"
	}
	return "idle threads sleep"
}

func (r *Report) find(name string, e Engine, in Input, dtype string) *Row {
	for i := range r.Results {
		if row := &r.Results[i]; row.Case == name && row.Engine == e && row.Input == in && row.DType == dtype {
			return row
		}
	}
	return nil
}

func (r *Report) ratio(name string, e Engine) string {
	row := r.find(name, e, Ordinary, "float32")
	if row == nil {
		return ""
	}
	text := fmt.Sprintf("%s [%s-%s]", number(row.Ratio), number(row.Spread[0]), number(row.Spread[1]))
	if row.Graph != "" {
		text += " " + row.Graph
	}
	return text
}

func short(row *Row) string {
	if row == nil {
		return ""
	}
	return number(row.Ratio)
}

// number has three digits.
func number(x float64) string {
	switch {
	case x == 0:
		return ""
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.2f", x)
	}
}
