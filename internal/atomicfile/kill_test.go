package atomicfile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// These make TestMain rewrite the file they name for ever instead of running the tests; killPairVar with a companion.
const (
	killVar     = "ATOMICFILE_TEST_REWRITE"
	killPairVar = "ATOMICFILE_TEST_REWRITE_PAIR"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(killVar); path != "" {
		rewriteForEver(func(i int) error { return Write(path, Options{Force: true}, killContent(i)) })
	}
	if path := os.Getenv(killPairVar); path != "" {
		rewriteForEver(func(i int) error {
			s, err := stagePair(path, string(killContent(i)), true)
			if err != nil {
				return err
			}
			return s.Commit()
		})
	}
	os.Exit(m.Run())
}

// killContent is one of the contents that the child writes: a single letter over some pages.
func killContent(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, 200_000) }

func rewriteForEver(write func(i int) error) {
	for i := 0; ; i++ {
		if err := write(i); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if i == 0 {
			fmt.Println("started")
		}
	}
}

// killRepeatedly starts a child that rewrites path, kills it at different places of the write, and calls judge.
func killRepeatedly(t *testing.T, variable, path string, judge func(i int)) {
	t.Helper()
	kills := 10
	if os.Getenv("AFTONNX_LOAD") != "" { // .ci/load
		kills = 200
	}
	for i := range kills {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), variable+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		said := make([]byte, 200)
		if n, err := out.Read(said); err != nil || !bytes.HasPrefix(said, []byte("started")) {
			t.Errorf("the child did not start: %s %v", said[:n], err)
		}
		time.Sleep(rand.N(13 * time.Millisecond)) // some tens of writes
		child.Process.Kill()
		child.Wait()
		judge(i)
	}
}

// Killed at whatever moment, a writer leaves the target whole.
//
// Rule E1 of docs/hostile.md.
func TestWrite_killedWriter(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	killRepeatedly(t, killVar, path, func(i int) {
		got, err := os.ReadFile(path)
		if err != nil || len(got) == 0 || !bytes.Equal(got, killContent(int(got[0]-'a'))) {
			t.Fatalf("after kill %d: %d bytes, error %v: not one whole content", i, len(got), err)
		}
	})
}
