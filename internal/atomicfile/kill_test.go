package atomicfile

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// killVar makes TestMain rewrite the file it names for ever instead of running the tests.
const killVar = "ATOMICFILE_TEST_REWRITE"

func TestMain(m *testing.M) {
	if path := os.Getenv(killVar); path != "" {
		rewriteForEver(path)
	}
	os.Exit(m.Run())
}

// killContent is one of the contents that the child writes: a single letter over some pages.
func killContent(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, 200_000) }

func rewriteForEver(path string) {
	for i := 0; ; i++ {
		if err := Write(path, Options{Force: true}, killContent(i)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if i == 0 {
			fmt.Println("started")
		}
	}
}

// Killed at whatever moment, a writer leaves the target whole.
func TestWrite_killedWriter(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	for i := range 10 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), killVar+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 16)); err != nil {
			t.Errorf("the child did not start: %v", err)
		}
		time.Sleep(time.Duration(i) * 1300 * time.Microsecond) // different places of the write
		child.Process.Kill()
		child.Wait()
		got, err := os.ReadFile(path)
		if err != nil || len(got) == 0 || !bytes.Equal(got, killContent(int(got[0]-'a'))) {
			t.Fatalf("after kill %d: %d bytes, error %v: not one whole content", i, len(got), err)
		}
	}
}
