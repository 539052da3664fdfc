package dialect

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// scope is where in a file its layers stand, and what stands there.
type scope struct {
	layers []found       // in order
	around *surroundings // of the layers; nil: nothing
	beside []string      // containers next to the layers' own that were not read
}

// found is one layer: the dialect, and the names of its tensors after the prefix.
type found struct {
	prefix  string
	dialect dialect
	names   []string
}

const weight = ".weight"

// findLayers locates the layers of a file by their query projections, orders them, and makes sure that nothing else among
// them would be dropped.
func findLayers(file string, names []string, rows []dialect) (*scope, error) {
	prefixes := layerPrefixes(names, rows)
	if len(prefixes) == 0 {
		return nil, noLayers(file, names, rows)
	}
	ordered, root, err := order(prefixes)
	if err != nil {
		err.File = file
		return nil, err
	}
	s := &scope{around: findSurroundings(names, ordered)}
	if s.around != nil {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return s.around.names[name] })
	}
	within, besides, err := distribute(names, ordered, root)
	if err != nil {
		err.File = file
		return nil, err
	}
	s.beside = containers(besides)
	for i, prefix := range ordered {
		row, err := recogniseLayer(within[i], rows)
		if err != nil {
			err.File, err.Place = file, place(i, len(ordered), prefix, row.name)
			return nil, err
		}
		s.layers = append(s.layers, found{prefix: prefix, dialect: row, names: within[i]})
	}
	for _, l := range s.layers[1:] {
		if first := s.layers[0]; l.dialect.name != first.dialect.name {
			return nil, &Error{File: file, Found: fmt.Sprintf("layers under %s are named as %s, those under %s as %s",
				quote(first.prefix), first.dialect.name, quote(l.prefix), l.dialect.name), Allowed: "one naming for all layers"}
		}
	}
	if first := s.layers[0].dialect.name; s.around != nil && s.around.dialect != first {
		return nil, &Error{File: file, Found: fmt.Sprintf("layers are named as %s, what stands around them as %s", first, s.around.dialect),
			Allowed: "one naming for the whole model"}
	}
	return s, nil
}

// distribute gives every tensor to its layer, by the rest of its name, or to besides: what stands in other dicts and is no
// weight. Anything else would be dropped, which is an error.
func distribute(names, prefixes []string, root string) (within [][]string, besides []string, err *Error) {
	within = make([][]string, len(prefixes))
	owners := newOwners(prefixes)
	var strays []string
	for _, name := range names {
		i := owners.of(name)
		sibling := strings.HasPrefix(name, root) && !strings.Contains(name[len(root):], "/")
		switch {
		case i >= 0:
			within[i] = append(within[i], strings.TrimPrefix(name, prefixes[i]))
		case sibling, isWeight(name) && !trainingState(name):
			strays = append(strays, name)
		default:
			besides = append(besides, name)
		}
	}
	if len(strays) > 0 {
		return nil, nil, &Error{Found: "holds more than AFT layers: " + quoteList(strays),
			Allowed: "a layer, a stack of layers or a whole model in a naming that is known"}
	}
	return within, besides, nil
}

// place names a layer in messages.
func place(i, count int, prefix, dialectName string) string {
	where := "layer"
	if count > 1 {
		where += " " + strconv.Itoa(i)
	}
	if prefix != "" {
		where += " " + quote(prefix)
	}
	return where + " (" + dialectName + ")"
}

// layerPrefixes returns what stands before the query projections, each once, in the order of the file.
func layerPrefixes(names []string, rows []dialect) []string {
	var prefixes []string
	seen := map[string]bool{}
	for _, name := range names {
		if trainingState(name) {
			continue
		}
		for _, row := range rows {
			prefix, ok := strings.CutSuffix(name, row.q+weight)
			atBoundary := prefix == "" || strings.HasSuffix(prefix, ".") || strings.HasSuffix(prefix, "/")
			if ok && atBoundary && !seen[prefix] {
				seen[prefix] = true
				prefixes = append(prefixes, prefix)
			}
		}
	}
	return prefixes
}

// owners finds the layer a tensor belongs to. The prefixes of a stack never contain each other, so the one that sorts last
// before a name is the only one that can begin it.
type owners struct {
	sorted []string
	index  map[string]int
}

func newOwners(prefixes []string) *owners {
	o := &owners{sorted: slices.Sorted(slices.Values(prefixes)), index: make(map[string]int, len(prefixes))}
	for i, p := range prefixes {
		o.index[p] = i
	}
	return o
}

// of returns the number of the layer, or -1.
func (o *owners) of(name string) int {
	at, exact := slices.BinarySearch(o.sorted, name)
	if !exact {
		at--
	}
	if at < 0 || !strings.HasPrefix(name, o.sorted[at]) {
		return -1
	}
	if p := o.sorted[at]; p != "" || !strings.Contains(name, "/") {
		return o.index[p]
	}
	return -1
}

// order sorts the prefixes of a stack, which differ in one number, and returns the container they share.
func order(prefixes []string) ([]string, string, *Error) {
	if len(prefixes) == 1 {
		return prefixes, container(prefixes[0]), nil
	}
	separated := func(p string) []string {
		return strings.FieldsFunc(p, func(r rune) bool { return r == '.' || r == '/' })
	}
	first := separated(prefixes[0])
	level := -1
	for _, p := range prefixes[1:] {
		parts := separated(p)
		differ := []int{}
		for i := range min(len(parts), len(first)) {
			if parts[i] != first[i] {
				differ = append(differ, i)
			}
		}
		if len(parts) != len(first) || len(differ) != 1 || (level >= 0 && level != differ[0]) {
			return nil, "", severalPlaces(prefixes)
		}
		level = differ[0]
	}
	numbers := make(map[string]int, len(prefixes))
	for _, p := range prefixes {
		n, err := strconv.Atoi(separated(p)[level])
		if err != nil || n < 0 {
			return nil, "", severalPlaces(prefixes)
		}
		numbers[p] = n
	}
	ordered := slices.Clone(prefixes)
	sort.SliceStable(ordered, func(a, b int) bool { return numbers[ordered[a]] < numbers[ordered[b]] })
	for i, p := range ordered {
		if numbers[p] != i {
			return nil, "", &Error{Found: fmt.Sprintf("has no layer %d before %s", i, quote(p)),
				Allowed: "layers numbered 0, 1, 2 ...: what stands in a gap may compute something, with no tensor to tell"}
		}
	}
	return ordered, container(commonPrefix(ordered)), nil
}

func severalPlaces(prefixes []string) *Error {
	return &Error{Found: "holds AFT layers in several places: " + quoteList(prefixes),
		Allowed: "one layer, or layers that differ in one number"}
}

func commonPrefix(all []string) string {
	p := all[0]
	for _, s := range all[1:] {
		for !strings.HasPrefix(s, p) {
			p = p[:len(p)-1]
		}
	}
	return p
}

// container is the part of a path that names the dicts a tensor is in: up to the last "/".
func container(path string) string { return path[:strings.LastIndex(path, "/")+1] }

// containers lists the outermost dicts of some tensors, each once.
func containers(names []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, name := range names {
		top, _, nested := strings.Cut(name, "/")
		if nested {
			top += "/"
		}
		if !seen[top] {
			seen[top] = true
			out = append(out, top)
		}
	}
	return out
}

// trainingState reports whether a tensor is kept by an optimiser or what steers it.
func trainingState(name string) bool {
	dicts := strings.Split(name, "/")
	for _, dict := range dicts[:len(dicts)-1] {
		dict = strings.ToLower(dict)
		for _, sign := range []string{"optim", "sched", "scaler"} {
			if strings.Contains(dict, sign) {
				return true
			}
		}
	}
	return false
}

// isWeight reports whether a name is one that torch.nn gives to a parameter.
func isWeight(name string) bool {
	return strings.HasSuffix(name, weight) || strings.HasSuffix(name, ".bias")
}

// noLayers explains a file without any query projection that is known.
func noLayers(file string, names []string, rows []dialect) *Error {
	e := &Error{File: file}
	for _, name := range names {
		if strings.HasSuffix(name, "time_decay") {
			e.Found, e.Allowed = "is an RWKV model ("+quote(name)+"), which is not read", "AFT layers"
			return e
		}
	}
	if len(names) == 0 {
		e.Found, e.Allowed = "holds no tensors", "an AFT layer or a stack of them"
		return e
	}
	known := make([]string, len(rows))
	for i, row := range rows {
		known[i] = row.name + ": " + row.q + weight
	}
	e.Found = "holds no AFT layer in a naming that is known; it has " + quoteList(names)
	e.Allowed = "a query projection named as in " + strings.Join(known, ", ")
	return e
}
