// Package tinynet makes whole networks so small that what they answer follows by hand, and pictures to show them: as the files
// that users have. Tests alone import it.
//
// It owns their weights and the formulas of their answers. It knows no reader of these files and no engine.
package tinynet
