package ort

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The test program plays the npm client when this variable is set: to the archive that "npm pack" should leave, or to
// "fail".
const fakeNPM = "AFTONNX_TEST_FAKE_NPM"

func TestMain(m *testing.M) {
	if archive := os.Getenv(fakeNPM); archive != "" {
		os.Exit(playNPM(archive, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func playNPM(archive string, args []string) int {
	line := strings.Join(args, " ")
	wd, err := os.Getwd()
	dir := args[len(args)-1]
	resolved, err2 := filepath.EvalSymlinks(dir)
	switch {
	case archive == "fail":
		fmt.Fprintln(os.Stderr, "npm error code E404")
		return 1
	case archive == "hang":
		time.Sleep(time.Minute)
	case err != nil || err2 != nil || wd != dir && wd != resolved:
		fmt.Fprintf(os.Stderr, "runs in %q, not in the empty directory %q: a project's .npmrc would apply\n", wd, dir)
		return 2
	case !strings.HasPrefix(line, "pack onnxruntime-node@") || !strings.Contains(line, "--ignore-scripts"),
		!strings.Contains(line, "--cache "+dir): // or the package stays in the user's
		fmt.Fprintln(os.Stderr, "unexpected arguments:", line)
		return 2
	}
	data, err := os.ReadFile(archive)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "onnxruntime-node-1.24.3.tgz"), data, 0o666)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

const (
	testMember = "onnxruntime-test-1.24.4/lib/libonnxruntime.so.1.24.4"
	testNPM    = "package/bin/napi-v6/test/libonnxruntime.so.1"
)

type member struct {
	name    string
	content []byte
	kind    byte // of tar; 0: a regular file
}

func tgz(t *testing.T, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), Typeflag: tar.TypeReg}
		if m.kind != 0 {
			h.Typeflag, h.Linkname = m.kind, "/etc/passwd"
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// pinned is a fetcher whose sums are those of archives made here.
type pinned struct {
	*fetcher
	archive, npmArchive []byte
}

func releaseArchive(t *testing.T, lib []byte) []byte {
	return tgz(t, member{name: "onnxruntime-test-1.24.4/README.md", content: bytes.Repeat([]byte("read me\n"), 1000)},
		member{name: "./" + testMember, content: lib}, member{name: "onnxruntime-test-1.24.4/LICENSE", content: []byte("MIT")})
}

func npmArchive(t *testing.T, lib []byte) []byte {
	return tgz(t, member{name: "package/package.json", content: []byte("{}")}, member{name: testNPM, content: lib})
}

func newPinned(t *testing.T, lib []byte) pinned {
	t.Helper()
	archive, npm := releaseArchive(t, lib), npmArchive(t, lib)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sum512 := sha512.Sum512(npm)
	return pinned{archive: archive, npmArchive: npm, fetcher: &fetcher{
		pins: platformPins{
			release: &releasePin{asset: "onnxruntime-test-1.24.4.tgz", sha256: sum(archive), bytes: int64(len(archive)),
				lib: filePin{testMember, sum(lib), int64(len(lib))}},
			npm: &filePin{testNPM, sum(lib), int64(len(lib))},
		},
		releaseBase: "http://127.0.0.1:1", // nobody answers
		npm:         []string{self},
		integrity:   base64.StdEncoding.EncodeToString(sum512[:]),
		npmBytes:    int64(len(npm)),
		connect:     3 * time.Second,
		stall:       10 * time.Second,
	}}
}

// serve answers requests for the release archive, counting them.
func (p pinned) serve(t *testing.T, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	p.releaseBase = server.URL
}

func (p pinned) serveArchive(t *testing.T) {
	p.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if want := "/v" + releaseVersion + "/" + p.pins.release.asset; r.URL.Path != want {
			http.Error(w, "no such file", http.StatusNotFound)
			return
		}
		w.Write(p.archive)
	})
}

// playNPM makes the fake client leave data.
func (p pinned) playNPM(t *testing.T, data []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "npm.tgz")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeNPM, path)
}

func (p pinned) options(t *testing.T) (Options, *[]string) {
	unsetEnv(t)
	told := &[]string{}
	return Options{CacheDir: t.TempDir(), Notify: func(s string) { *told = append(*told, s) }, fetch: p.fetcher}, told
}

func checkFetched(t *testing.T, lib Library, want []byte, source Source) {
	t.Helper()
	data, err := os.ReadFile(lib.Path)
	if err != nil || !bytes.Equal(data, want) || lib.Source != source {
		t.Errorf("fetched %+v holding %d bytes (%v), want %d from %s", lib, len(data), err, len(want), source)
	}
}

func TestFetchRelease(t *testing.T) {
	lib := bytes.Repeat([]byte("library "), 100_000)
	p := newPinned(t, lib)
	p.serveArchive(t)
	o, told := p.options(t)
	got, err := Fetch(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkFetched(t, got, lib, SourceRelease)
	want := "onnxruntime/1.24.4-release/libonnxruntime.so.1.24.4"
	if rel, err := filepath.Rel(o.CacheDir, got.Path); err != nil || filepath.ToSlash(rel) != want {
		t.Errorf("stored at %q, %v", rel, err)
	}
	if len(*told) != 2 || !strings.Contains((*told)[0], "fetching ONNX Runtime 1.24.4 (0 MB) from http://127.0.0.1") ||
		!strings.Contains((*told)[1], "stored") {
		t.Errorf("the user was told %q", *told)
	}
}

func TestFetchReleaseZip(t *testing.T) {
	lib := bytes.Repeat([]byte("dll "), 1000)
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for name, content := range map[string][]byte{
		"onnxruntime-test/README": []byte("x"), "onnxruntime-test/lib/onnxruntime.dll": lib,
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	p := newPinned(t, lib)
	p.archive = buf.Bytes()
	p.pins.release = &releasePin{asset: "onnxruntime-test.zip", sha256: sum(buf.Bytes()), bytes: int64(buf.Len()),
		lib: filePin{member: "onnxruntime-test/lib/onnxruntime.dll", sha256: sum(lib)}} // bytes: not published
	p.serveArchive(t)
	o, _ := p.options(t)
	got, err := Fetch(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkFetched(t, got, lib, SourceRelease)
}

// A host program may have put anything in the place of the default transport.
func TestFetchDoesNotNeedTheDefaultTransport(t *testing.T) {
	saved := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = saved })
	http.DefaultTransport = http.NewFileTransport(http.Dir(t.TempDir()))
	lib := []byte("the library")
	p := newPinned(t, lib)
	p.serveArchive(t)
	o, _ := p.options(t)
	got, err := Fetch(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkFetched(t, got, lib, SourceRelease)
}

func TestFetchFallsBackToNPM(t *testing.T) {
	lib := []byte("the npm library")
	p := newPinned(t, lib)
	p.playNPM(t, p.npmArchive)
	o, told := p.options(t)
	got, err := Fetch(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkFetched(t, got, lib, SourceNPM)
	text := strings.Join(*told, "\n")
	if got.Version != npmVersion || !strings.Contains(text, "from onnxruntime-node@1.24.3") {
		t.Errorf("got %+v, told %q", got, *told)
	}
	if !regexp.MustCompile(`(?m)^release archive: .+; trying the npm package$`).MatchString(text) {
		t.Errorf("the user was not told why the release archive did not serve: %q", *told)
	}
	entries, err := os.ReadDir(filepath.Join(o.CacheDir, "onnxruntime"))
	if err != nil || len(entries) != 1 || entries[0].Name() != npmVersion+"-npm" {
		t.Errorf("the cache holds %v, %v, want the npm package's directory alone", entries, err)
	}
}

// Nothing but the right file may reach the cache, whatever the server sends.
//
// Rules G1, G2 of docs/hostile.md.
func TestFetchRefusesWhatIsNotPinned(t *testing.T) {
	lib := bytes.Repeat([]byte("library "), 1000)
	other := bytes.Repeat([]byte("LIBRARY "), 1000)
	p := newPinned(t, lib)
	good := p.archive
	for _, test := range []struct {
		name    string
		archive []byte
		repin   bool // give the archive's own sum, so that the file's sum has to decide
		want    string
	}{
		{"changed", releaseArchive(t, other), false, "the archive"},
		{"cut", good[:len(good)-20], false, fmt.Sprintf("has %d bytes, want %d", len(good)-20, len(good))},
		{"longer", append(bytes.Clone(good), 0), false, "more than"},
		{"text", bytes.Repeat([]byte("x"), len(good)), false, "SHA-256"},
		{"empty", nil, false, "has 0 bytes"},
		{"other library", releaseArchive(t, other), true, "its SHA-256 is " + sum(other)},
		{"no library", tgz(t, member{name: "x", content: lib}), true, "no file"},
		{"short library", releaseArchive(t, lib[:100]), true, "has 100 bytes"},
		{"long library", releaseArchive(t, append(bytes.Clone(lib), lib...)), true, "bytes or more"},
		{"symbolic link", tgz(t, member{name: testMember, kind: tar.TypeSymlink}), true, "no file"},
		{"escape", tgz(t, member{name: "../../" + testMember, content: lib}), true, "no file"},
		{"no gzip", []byte("not gzip"), true, "gzip"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPinned(t, lib)
			t.Setenv(fakeNPM, "fail")
			if test.repin {
				p.pins.release.sha256, p.pins.release.bytes = sum(test.archive), int64(len(test.archive))
			}
			p.archive = test.archive
			p.serveArchive(t)
			o, _ := p.options(t)
			got, err := Fetch(context.Background(), o)
			var missing *MissingError
			if !errors.As(err, &missing) {
				t.Fatalf("got %+v, %v, want a *MissingError", got, err)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "E404") {
				t.Errorf("error does not say %q and what npm said:\n%v", test.want, err)
			}
			filepath.WalkDir(o.CacheDir, func(path string, d os.DirEntry, err error) error {
				if err != nil || !d.IsDir() || strings.HasPrefix(d.Name(), "1.") {
					t.Errorf("left %q in the cache (%v)", path, err)
				}
				return nil
			})
		})
	}
}

// Rules G1, G2 of docs/hostile.md.
func TestFetchRefusesAnotherNPMPackage(t *testing.T) {
	lib := []byte("the npm library")
	p := newPinned(t, lib)
	for name, archive := range map[string][]byte{
		"other library": npmArchive(t, []byte("another library")),
		"cut":           p.npmArchive[:len(p.npmArchive)/2],
		"same size":     bytes.Repeat([]byte("x"), len(p.npmArchive)),
	} {
		p.playNPM(t, archive)
		o, _ := p.options(t)
		if got, err := Fetch(context.Background(), o); err == nil || !strings.Contains(err.Error(), "the archive") {
			t.Errorf("%s: got %+v, %v, want an error about the archive's sum or size", name, got, err)
		}
	}
	p.npm = []string{filepath.Join(t.TempDir(), "no-such-npm")}
	o, _ := p.options(t)
	if _, err := Fetch(context.Background(), o); err == nil || !strings.Contains(err.Error(), "npm client is not installed") {
		t.Errorf("without a client: %v", err)
	}
}

// Rule G3 of docs/hostile.md.
func TestFetchHTTPErrors(t *testing.T) {
	lib := []byte("lib")
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"not found", http.NotFound, "404 Not Found"},
		{"redirected to another scheme", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/x", http.StatusFound)
		}, "redirected from http to https"},
		{"redirected for ever", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, "more than 5 redirects"},
		{"stalled", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}, "nothing received for 100ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPinned(t, lib)
			t.Setenv(fakeNPM, "fail")
			p.stall = 100 * time.Millisecond
			p.serve(t, test.handler)
			o, _ := p.options(t)
			if _, err := Fetch(context.Background(), o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Rule G4 of docs/hostile.md.
func TestFetchCanBeCancelled(t *testing.T) {
	for _, where := range []string{"release", "npm"} {
		t.Run(where, func(t *testing.T) {
			p := newPinned(t, []byte("lib"))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if where == "npm" {
				t.Setenv(fakeNPM, "hang")
				time.AfterFunc(200*time.Millisecond, cancel)
			} else {
				p.serve(t, func(w http.ResponseWriter, r *http.Request) {
					cancel()
					<-r.Context().Done()
				})
			}
			o, _ := p.options(t)
			start := time.Now()
			if _, err := Fetch(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// Several processes on one cache are like several fetches at once: each writes a file of its own and renames it.
//
// Rule G6 of docs/hostile.md.
func TestFetchConcurrently(t *testing.T) {
	lib := bytes.Repeat([]byte("library "), 50_000)
	p := newPinned(t, lib)
	p.serveArchive(t)
	o, _ := p.options(t)
	o.Notify = nil
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := Fetch(context.Background(), o)
			if err != nil {
				t.Error(err)
				return
			}
			if err := checkSum(got.Path, sum(lib)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(filepath.Join(o.CacheDir, "onnxruntime", "1.24.4-release"))
	if err != nil || len(entries) != 1 {
		t.Errorf("the cache holds %v, %v, want the library alone", entries, err)
	}
}

// The pins are data: their form, and that every file name carries the version it is for.
func TestPins(t *testing.T) {
	for _, platform := range []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64", "windows/arm64"} {
		goos, goarch, _ := strings.Cut(platform, "/")
		p := pins(goos, goarch)
		if p.release == nil || p.npm == nil {
			t.Errorf("%s: a source is missing", platform)
			continue
		}
		for _, s := range []string{p.release.sha256, p.release.lib.sha256, p.npm.sha256} {
			if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
				t.Errorf("%s: %q is no SHA-256", platform, s)
			}
		}
		if !strings.Contains(p.release.asset, releaseVersion) || !strings.Contains(p.release.lib.member, releaseVersion) {
			t.Errorf("%s: %q or %q is not of version %s", platform, p.release.asset, p.release.lib.member, releaseVersion)
		}
		if p.release.bytes <= 0 || p.npm.bytes <= 0 {
			t.Errorf("%s: a size is missing", platform)
		}
	}
	if p := pins("plan9", "amd64"); p.release != nil || p.npm != nil {
		t.Error("plan9/amd64 has sources")
	}
	if raw, err := base64.StdEncoding.DecodeString(npmIntegrity); err != nil || len(raw) != 64 {
		t.Errorf("npmIntegrity is %d bytes, %v", len(raw), err)
	}
}
