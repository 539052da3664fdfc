// Package npy reads and writes NumPy's .npy (versions 1, 2 and 3) and .npz files.
//
// It owns the bytes of the two formats and nothing else: what an array means is the caller's. Files come from outside, so
// every size a header claims is held against the bytes that are there before anything is allocated, and only numbers are
// understood: no pickled objects, no structured types, no strings.
//
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
package npy
