// Package task is what whole networks are for: to score and to continue text byte by byte, and to name what a picture shows.
//
// It owns the rules by which text becomes windows, logits become bits and bytes, and pictures become pixels. All of it runs
// over a Runner: which engine computes the logits, and from which file, is none of its business. Neither are flags and
// printing.
package task
