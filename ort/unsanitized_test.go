//go:build cgo && !asan

package ort_test

const sanitized = false
