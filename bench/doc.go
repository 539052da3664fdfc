// Package bench measures the ai.aft kernels beside what a user would run instead, in one process and interleaved.
//
// It owns the cases (Case), the graphs of others (graph.go), floors (floor.go) and how times become figures (measure.go). It
// checks the outputs of what it times against the equations in float64. It does not print: package main does.
package bench
