//go:build unix

package ort

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// limitFiles makes every file longer than that impossible, as a full disk would, until the returned function is called.
func limitFiles(t *testing.T, bytes uint64) (lift func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limited := before
	limited.Cur = bytes
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(lift)
	return lift
}

// noise does not get smaller in an archive.
func noise(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

// wantNothingStored requires a cache without any file, not even a temporary one.
func wantNothingStored(t *testing.T, cache string) {
	t.Helper()
	err := filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("left %q in the cache", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Rule G5 of docs/hostile.md: a cache that takes nothing is named, and nothing is left in it; once it takes files, the fetch
// succeeds.
func TestFetchNoSpace(t *testing.T) {
	lib := noise(1 << 20)
	p := newPinned(t, lib)
	p.serveArchive(t)
	p.pins.npm = nil
	o, _ := p.options(t)
	lift := limitFiles(t, 64<<10)
	_, err := Fetch(context.Background(), o)
	lift()
	if err == nil || !errors.Is(err, syscall.EFBIG) && !strings.Contains(err.Error(), "file too large") || !strings.Contains(err.Error(), o.CacheDir) {
		t.Errorf("got %v, want an error that names the cache and what the system says", err)
	}
	wantNothingStored(t, o.CacheDir)
	got, err := Fetch(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkFetched(t, got, lib, SourceRelease)
}

// Rule G5 of docs/hostile.md.
func TestFetchUnwritableCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	readOnly := filepath.Join(t.TempDir(), "read-only")
	if err := errors.Join(os.WriteFile(file, nil, 0o666), os.Mkdir(readOnly, 0o555)); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"beneath a file": filepath.Join(file, "cache"), "read-only": readOnly} {
		t.Run(name, func(t *testing.T) {
			if dir == readOnly && os.Geteuid() == 0 {
				t.Skip("this user may write everywhere")
			}
			p := newPinned(t, []byte("lib"))
			asked := false
			p.serve(t, func(w http.ResponseWriter, r *http.Request) { asked = true })
			p.pins.npm = nil
			o, _ := p.options(t)
			o.CacheDir = dir
			var missing *MissingError
			if _, err := Fetch(context.Background(), o); !errors.As(err, &missing) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want a *MissingError that names the cache", err)
			}
			if asked {
				t.Error("the archive was asked for, which could not be stored")
			}
		})
	}
}

// Rule G2 of docs/hostile.md: a connection that breaks in the middle leaves nothing, and the next fetch begins anew.
func TestFetchBrokenConnection(t *testing.T) {
	lib := noise(100_000)
	p := newPinned(t, lib)
	p.pins.npm = nil
	broken := 3
	p.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if broken--; broken < 0 {
			w.Write(p.archive)
			return
		}
		w.Write(p.archive[:len(p.archive)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // which closes the connection
	})
	o, _ := p.options(t)
	for range 3 {
		if _, err := Fetch(context.Background(), o); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
			t.Errorf("got %v, want what became of the connection", err)
		}
		wantNothingStored(t, o.CacheDir)
	}
	got, err := Fetch(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkFetched(t, got, lib, SourceRelease)
}
