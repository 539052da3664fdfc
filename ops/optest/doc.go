// Package optest is the conformance suite of the operators: cases with a known truth, and the properties every
// implementation must have. Each engine instantiates it with a few lines (Run); the package itself knows no engine.
//
// Truth comes from files (testdata/golden, made by testdata/make_golden.py; and, where it is at hand, ../shared/golden)
// or is written down beside the case. It never comes from one of our engines.
package optest
