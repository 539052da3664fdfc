// Package dialect turns named tensors into layers and stacks of layers: it knows who names what how.
//
// A dialect is a row of a table (table.go): the names of the four projections, the sets of position biases that may stand
// beside them, and what follows from each. Recognise finds the layers of a file by the names of their query projections
// (scope.go), settles what the names do not say from flags, a config.json or the file's own config (facts.go), reads the
// projections (layer.go) and folds the learned biases (bias.go).
//
// Two rules carry the package. No weight is dropped: a tensor among the layers that is not understood is an error. And
// nothing is guessed: where one file could be two different layers, a *FlagError says which flag decides.
//
// The package must not know file formats; it sees a Source of named tensors.
package dialect
