//go:build cgo && (asan || race)

package ort_test

// sanitized is whether something keeps books of its own about memory, and freed memory for a while.
const sanitized = true
