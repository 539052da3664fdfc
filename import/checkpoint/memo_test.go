package checkpoint

import "testing"

// TestMemo compares the memo with a map, over numbers on both sides of a word and of what counts as far.
func TestMemo(t *testing.T) {
	text := "\x80\x02"
	numbers := []int{0, 1, 62, 63, 64, 65, 127, 128, 200, 319, 320, 321, 1000, 1 << 20, 1<<32 - 1}
	for i, n := range numbers {
		if i%3 != 2 { // every third one is stored and never fetched
			text += "j" + u32(n)
		}
	}
	for len(text) < 300 {
		text += "N"
	}
	m, err := newMemo(text, newBudget(int64(len(text)), defaultLimits()))
	if err != nil {
		t.Fatal(err)
	}
	for _, round := range []int64{1, 2} { // stored again: the newer value wins
		for i, n := range numbers {
			if _, err := m.get(uint32(n)); (err == nil) != (round == 2 && i%3 != 2) {
				t.Errorf("number %d before it is stored: %v", n, err)
			}
			m.put(uint32(n), round*100+int64(i))
		}
		for i, n := range numbers {
			v, err := m.get(uint32(n))
			if i%3 == 2 {
				if err == nil {
					t.Errorf("number %d has a place that nothing asked for", n)
				}
			} else if v != any(round*100+int64(i)) {
				t.Errorf("number %d: %v %v, want %d", n, v, err, round*100+int64(i))
			}
		}
	}
	if len(m.values)+len(m.far) != 10 {
		t.Errorf("%d and %d places, want 10 in all", len(m.values), len(m.far))
	}
}
