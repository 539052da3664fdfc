package checkpoint

import (
	"fmt"
	"math/bits"
)

// memo remembers values for later opcodes. Picklers store nearly everything they write and fetch nearly nothing: a first pass
// over the opcodes finds which numbers are fetched at all, and only those get a place.
type memo struct {
	fetched []uint64       // bit i: number i is fetched
	rank    []uint32       // how many bits are set in the words before
	values  []any          // by rank
	far     map[uint32]any // numbers larger than any honest pickle of this length has; nil values are not stored yet
	next    uint32         // what MEMOIZE stores
	byOrder bool           // MEMOIZE is in use, or
	byIndex bool           // BINPUT is: no pickler uses both, and readers count differently then
}

// newMemo looks for what is fetched. It stops where the opcodes do: what is wrong there is for the machine to say.
func newMemo(text string, b *budget) (*memo, error) {
	words := len(text)/64 + 1
	if err := b.charge(int64(12 * words)); err != nil {
		return nil, err
	}
	m := &memo{fetched: make([]uint64, words), rank: make([]uint32, words)}
	for pos := 0; pos < len(text); {
		code := text[pos]
		op := &opcodes[code]
		if op.name == "" {
			break
		}
		arg, n, err := op.form.argument(text[pos+1:])
		if err != nil {
			break
		}
		if code == opBinGet || code == opLongBinGet {
			if err := m.expect(uint32(littleEndian(arg)), b); err != nil {
				return nil, err
			}
		}
		pos += 1 + n
	}
	total := 0
	for i, w := range m.fetched {
		m.rank[i] = uint32(total)
		total += bits.OnesCount64(w)
	}
	if err := b.charge(int64(total) * anyBytes); err != nil {
		return nil, err
	}
	m.values = make([]any, total)
	return m, nil
}

func (m *memo) expect(i uint32, b *budget) error {
	if word := uint64(i / 64); word < uint64(len(m.fetched)) {
		m.fetched[word] |= 1 << (i % 64)
		return nil
	}
	if _, ok := m.far[i]; ok {
		return nil
	}
	const entry = 6 * (8 + anyBytes) // a map doubles, and keeps up to half of its places free
	if err := b.charge(entry); err != nil {
		return err
	}
	if m.far == nil {
		m.far = map[uint32]any{}
	}
	m.far[i] = nil
	return nil
}

// slot is the place of a number, if it is ever fetched and not far.
func (m *memo) slot(i uint32) (int, bool) {
	word := uint64(i / 64)
	if word >= uint64(len(m.fetched)) || m.fetched[word]>>(i%64)&1 == 0 {
		return 0, false
	}
	before := m.fetched[word] & (1<<(i%64) - 1)
	return int(m.rank[word]) + bits.OnesCount64(before), true
}

func (m *memo) put(i uint32, v any) {
	if k, ok := m.slot(i); ok {
		m.values[k] = v
	} else if _, ok := m.far[i]; ok {
		m.far[i] = v
	}
}

func (m *memo) get(i uint32) (any, error) {
	v := m.far[i]
	if k, ok := m.slot(i); ok {
		v = m.values[k]
	}
	if v == nil {
		return nil, &Error{Found: fmt.Sprintf("memo entry %d", i), Allowed: "an entry that was stored before"}
	}
	return v, nil
}

// opPut stores the top of the stack under the number in the argument.
func (m *machine) opPut(arg string) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if m.memo.byIndex = true; m.memo.byOrder {
		return errMixedMemo()
	}
	m.memo.put(uint32(littleEndian(arg)), v)
	return nil
}

// opMemoize stores the top of the stack under the next number.
func (m *machine) opMemoize(string) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if m.memo.byOrder = true; m.memo.byIndex {
		return errMixedMemo()
	}
	m.memo.put(m.memo.next, v)
	m.memo.next++
	return nil
}

func errMixedMemo() error {
	return &Error{Found: "both BINPUT and MEMOIZE", Allowed: "one of them"}
}

func (m *machine) opGet(arg string) error {
	v, err := m.memo.get(uint32(littleEndian(arg)))
	if err != nil {
		return err
	}
	return m.push(v)
}
