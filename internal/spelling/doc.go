// Package spelling measures how far a mistyped name is from one that exists.
package spelling
