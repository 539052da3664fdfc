package render

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aftonnx/aftonnx/verify"
)

// legible spells out what does not print, as Go would in a string: two names that differ look different.
func legible(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !strconv.IsPrint(r):
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func legibles(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = legible(s)
	}
	return out
}

// small is an error with three digits: enough to compare, short enough for a table.
func small(n verify.Number) string {
	switch v := float64(n); {
	case v == 0:
		return "0"
	case isUndefined(v):
		return strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return strconv.FormatFloat(v, 'e', 2, 64)
	}
}

// exactly is a value with all its digits: got and want may differ in the last one.
func exactly(n verify.Number) string { return strconv.FormatFloat(float64(n), 'g', -1, 64) }

// percent is a share of what is allowed, or how many times it is exceeded.
func percent(v float64) string {
	switch {
	case isUndefined(v):
		return strconv.FormatFloat(v, 'g', -1, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'g', 3, 64) + " times"
	}
	return strconv.FormatFloat(100*v, 'g', 3, 64) + "%"
}

// ofAllowed is percent in a sentence.
func ofAllowed(v float64) string {
	if v >= 10 && !isUndefined(v) {
		return percent(v) + " what is allowed"
	}
	return percent(v) + " of what is allowed"
}

func isUndefined(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }

// powerOfTwo is 2 with a raised exponent; text, as tick labels are.
func powerOfTwo(exponent int) string {
	digits := []rune("⁰¹²³⁴⁵⁶⁷⁸⁹")
	var b strings.Builder
	b.WriteString("2")
	for _, r := range strconv.Itoa(exponent) {
		if r == '-' {
			b.WriteRune('⁻')
			continue
		}
		b.WriteRune(digits[r-'0'])
	}
	return b.String()
}

// px is a length in a plot. A tenth is finer than a screen shows.
type px float64

func (p px) String() string { return strconv.FormatFloat(math.Round(float64(p)*10)/10, 'f', -1, 64) }

// tick is a mark on an axis.
type tick struct {
	At   px
	Text string
}

// engineOf names an engine, and which of its two ways of computing.
func engineOf(e verify.Engine, bodies bool) string {
	if bodies {
		return legible(string(e)) + ", with function bodies"
	}
	return legible(string(e))
}

// labelled is a name with what of a sweep it belongs to.
func labelled(name, setting string) string {
	if setting == "" {
		return legible(name)
	}
	return legible(name) + " (" + legible(setting) + ")"
}

// counted is "1 layer", "2 layers".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
