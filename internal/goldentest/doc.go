// Package goldentest finds and reads the test data that more than one package uses: testdata of this module, and the
// folder shared of further cases that may stand beside the checkout. Tests alone import it.
package goldentest
