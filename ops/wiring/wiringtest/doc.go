// Package wiringtest holds small whole networks, one for each way in which package wiring writes its parts, and inputs for
// them. Tests alone import it: those of the packages that write, read back and run such graphs.
package wiringtest
