package checkpoint

import (
	"cmp"
	"slices"
	"strings"
)

// sortedBy gives the positions of items in the order of their keys; equal keys stay in the order of the file. Four bytes an
// item where a map would take forty: directories and headers may hold a million names.
func sortedBy[T any](items []T, key func(*T) string) []int32 {
	order := make([]int32, len(items))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := strings.Compare(key(&items[a]), key(&items[b])); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	return order
}

// duplicate finds two items with one key, first in the order of keys.
func duplicate[T any](items []T, order []int32, key func(*T) string) (first, second int, found bool) {
	for k := 1; k < len(order); k++ {
		a, b := order[k-1], order[k]
		if key(&items[a]) == key(&items[b]) {
			return int(a), int(b), true
		}
	}
	return 0, 0, false
}

// find looks a name up in what sortedBy made.
func find[T any](items []T, order []int32, name string, key func(*T) string) (int, bool) {
	k, ok := slices.BinarySearchFunc(order, name, func(i int32, want string) int {
		return strings.Compare(key(&items[i]), want)
	})
	if !ok {
		return 0, false
	}
	return int(order[k]), true
}
