// Package layout holds no code: its test keeps the directions of imports and the other rules of ARCHITECTURE.md true.
package layout
