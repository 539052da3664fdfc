//go:build !unix || solaris || aix

package atomicfile

import "os"

// lock takes no lock where the system has none that outlives a rename: temporary files of killed processes stay.
func lock(*os.File) bool { return false }

func lockShared(*os.File) bool { return false }
