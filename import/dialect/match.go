package dialect

import (
	"slices"
	"strings"
)

// recogniseLayer picks the dialect whose names fit: nothing it needs is missing, nothing is left over. When none fits, the
// error compares with the dialect that comes nearest.
func recogniseLayer(names []string, rows []dialect) (dialect, *Error) {
	best, nearest := dialect{}, &Error{}
	fewest := -1
	for _, row := range rows {
		if !slices.Contains(names, row.q+weight) {
			continue
		}
		missing, unknown := row.compare(names)
		if len(missing)+len(unknown) == 0 {
			return row, nil
		}
		for _, name := range unknown {
			if what, ok := row.refused[name]; ok {
				return row, &Error{Found: "is " + what, Allowed: "an AFT layer"}
			}
		}
		if fewest < 0 || len(missing)+len(unknown) < fewest {
			best, fewest = row, len(missing)+len(unknown)
			nearest = misfit(missing, unknown)
		}
	}
	return best, nearest
}

func misfit(missing, unknown []string) *Error {
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "lacks "+quoteList(missing))
	}
	if len(unknown) > 0 {
		parts = append(parts, "has tensors that are no part of such a layer: "+quoteList(unknown))
	}
	return &Error{Found: strings.Join(parts, " and ")}
}

// compare holds the names of one layer against the dialect.
func (d *dialect) compare(names []string) (missing, unknown []string) {
	allowed := map[string]bool{}
	need := []string{d.q, d.k, d.v}
	if d.out != "" {
		allowed[d.out+weight], allowed[d.out+".bias"] = true, true
		if !d.outMissing || slices.Contains(names, d.out+".bias") {
			need = append(need, d.out)
		}
	}
	for _, p := range need {
		allowed[p+weight], allowed[p+".bias"] = true, true
		if !slices.Contains(names, p+weight) {
			missing = append(missing, p+weight)
		}
	}
	set, ok := d.biasesIn(names)
	if !ok {
		missing = append(missing, d.biases[0].tensors...)
	}
	for _, name := range set.tensors {
		allowed[name] = true
	}
	for _, name := range names {
		if !allowed[name] {
			unknown = append(unknown, name)
		}
	}
	return missing, unknown
}

// biasesIn is the first set of biases whose tensors are all there.
func (d *dialect) biasesIn(names []string) (biasSet, bool) {
	for _, set := range d.biases {
		if !slices.ContainsFunc(set.tensors, func(t string) bool { return !slices.Contains(names, t) }) {
			return set, true
		}
	}
	return biasSet{}, false
}
