//go:build cgo && !asan && !race

package ort_test

const sanitized = false
