package checkpoint

import "fmt"

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// limits bound what a file may ask for. They are a value, not constants, so that tests can lower them.
type limits struct {
	header    int64 // bytes of a safetensors header; the format's own maximum
	index     int64 // bytes of an index of shards
	shards    int   // each is an open file
	pickle    int64 // bytes of one pickle
	ops       int   // opcodes of one pickle
	stack     int   // values on the machine's stack
	intBytes  int   // length of an integer
	depth     int   // containers in containers
	visits    int   // values met while naming tensors, shared ones each time
	perByte   int   // visits added for each byte of the pickle
	tensors   int
	nameBytes int // of one tensor's name
	rank      int
	entries   int   // of a zip directory
	ratio     int64 // uncompressed to compressed size of one zip record
	inflate   int64 // sum of the uncompressed sizes of compressed records: 4 x file + this
	expand    int64 // bytes of one tensor with repeated elements: 4 x file + this
	total     int64 // bytes of all tensors, shared storages counted each time: 32 x file + this
	metadata  int   // scalars kept for Metadata; further ones are left out
	metaBytes int   // of one such scalar; longer strings are left out
	slack     int64 // memory for the index: 3 x file + this
}

func defaultLimits() limits {
	return limits{
		header:    100_000_000,
		index:     64 * mib,
		shards:    1000,
		pickle:    256 * mib,
		ops:       50_000_000,
		stack:     1_000_000,
		intBytes:  256,
		depth:     100,
		visits:    1_000_000,
		perByte:   16,
		tensors:   1_000_000,
		nameBytes: 64 * kib,
		rank:      16,
		entries:   1_000_000,
		ratio:     200,
		inflate:   4 * mib,
		expand:    64 * mib,
		total:     1 * gib,
		metadata:  4096,
		metaBytes: 1024,
		slack:     3 * mib,
	}
}

// budget is the memory that the index of one file may take: everything whose size the file decides is charged here before
// it is allocated. The bound is on what is allocated in total, not on what is alive.
type budget struct {
	limit, used int64
}

func newBudget(fileSize int64, lim limits) *budget {
	return &budget{limit: 3*fileSize + lim.slack}
}

// charge accounts for n bytes, or says that the file asks for too much. The error has no place: the caller knows it.
func (b *budget) charge(n int64) error {
	if n < 0 || n > b.limit-b.used {
		return &Error{
			Found:   fmt.Sprintf("objects that need more than %d bytes of memory", b.limit),
			Allowed: "3 x the file's size plus a few MiB",
		}
	}
	b.used += n
	return nil
}

// grow makes room for extra more elements of size bytes each, doubling and charging what it allocates.
func grow[T any](b *budget, s []T, extra, size int) ([]T, error) {
	if cap(s)-len(s) >= extra {
		return s, nil
	}
	n := max(2*cap(s), len(s)+extra)
	if err := b.charge(int64(n) * int64(size)); err != nil {
		return s, err
	}
	return append(make([]T, 0, n), s...), nil
}
