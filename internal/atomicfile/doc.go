// Package atomicfile publishes a file all at once: readers of the target see the bytes it had or the new ones, never a
// part of either, and a failure leaves neither a changed target nor a temporary file behind.
//
// A file is staged under a temporary name beside its target, where the caller may read it back and judge it, and then
// committed (renamed) or discarded. This is the only package of the repository that creates or renames files; it knows
// nothing of what they hold.
//
// A file may have a companion, which it names: that one is in place first, under a name that holds a hash of its content,
// and comes and goes with the file.
//
// A process that is killed between Stage and Commit leaves its temporary file. The next Stage in that directory removes
// it: a live writer holds a lock on its own. Where files cannot be locked so (Windows), the leftover stays.
package atomicfile
