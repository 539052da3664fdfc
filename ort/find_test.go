package ort

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// unsetEnv makes a search depend on the test alone.
func unsetEnv(t *testing.T) {
	t.Helper()
	for _, name := range []string{string(SourceEnv), string(SourceEnvOrt), "AFTONNX_OFFLINE"} {
		t.Setenv(name, "")
	}
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// writeFile makes a file below the test's own directory.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// versions is a probe that reads the version from the file's text: a stand-in for loading it.
func versions(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if v, ok := strings.CutPrefix(string(data), "version "); ok {
		return v, nil
	}
	return "", errors.New("invalid ELF header")
}

func TestFindTakesWhatTheUserNames(t *testing.T) {
	option, env := writeFile(t, "a.so", "version 1.24.0"), writeFile(t, "b.so", "version 1.30.2")
	envOrt := writeFile(t, "c.so", "version 2.0.0")
	for _, test := range []struct {
		name                string
		option, env, envOrt string
		want                Library
	}{
		{"option first", option, env, envOrt, Library{option, SourceOption, "1.24.0"}},
		{"our variable", "", env, envOrt, Library{env, SourceEnv, "1.30.2"}},
		{"the other variable", "", "", envOrt, Library{envOrt, SourceEnvOrt, "2.0.0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			unsetEnv(t)
			t.Setenv(string(SourceEnv), test.env)
			t.Setenv(string(SourceEnvOrt), test.envOrt)
			f := finder{o: Options{Library: test.option, Offline: true, CacheDir: t.TempDir()}, probe: versions}
			got, err := f.find(context.Background())
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// A named library that does not serve ends the search, although the next source has a good one.
func TestFindRefusesABadNamedLibrary(t *testing.T) {
	good := writeFile(t, "good.so", "version 1.24.4")
	dir := t.TempDir()
	// The first 64 bytes of a 64-bit ELF library for an IBM S/390, machine 22.
	foreign := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00\x16\x00\x01\x00\x00\x00" +
		strings.Repeat("\x00", 40)
	for _, test := range []struct {
		name, path, want string
		viaEnv           bool
	}{
		{"absent", filepath.Join(dir, "none.so"), "", false},
		{"directory", dir, "is a directory, want the library file", false},
		{"text", writeFile(t, "x.so", "hello"), "invalid ELF header", false},
		{"other processor", writeFile(t, "s390.so", foreign), "is built for EM_S390", false},
		{"old", writeFile(t, "old.so", "version 1.23.2"), `is version "1.23.2", want 1.24 or newer`, false},
		{"nonsense version", writeFile(t, "odd.so", "version x"), `is version "x", want 1.24 or newer`, false},
		{"relative in the environment", "x.so", "is not an absolute path", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			unsetEnv(t)
			t.Setenv(string(SourceEnvOrt), good)
			o := Options{Library: test.path, Offline: true, CacheDir: t.TempDir()}
			if test.viaEnv {
				t.Setenv(string(SourceEnv), o.Library)
				o.Library = ""
			}
			f := finder{o: o, probe: versions}
			got, err := f.find(context.Background())
			if err == nil {
				t.Fatalf("found %+v", got)
			}
			var missing *MissingError
			var old *VersionError
			if !errors.As(err, &missing) && !errors.As(err, &old) {
				t.Errorf("error is a %T", err)
			}
			if missing != nil && !strings.Contains(err.Error(), "way out: name the file") {
				t.Errorf("error %q shows no way out", err)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), filepath.Base(test.path)) {
				t.Errorf("error %q does not name %q and %q", err, test.want, filepath.Base(test.path))
			}
		})
	}
}

// A library beside the program's working directory must never be taken.
//
// Rule R2 of docs/hostile.md.
func TestFindIgnoresTheWorkingDirectory(t *testing.T) {
	unsetEnv(t)
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range libraryNames(runtime.GOOS) {
		if err := os.WriteFile(name, []byte("version 1.24.4"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f := finder{o: Options{Offline: true, CacheDir: t.TempDir()}, probe: versions}
	lib, err := f.find(context.Background())
	if err == nil && strings.HasPrefix(lib.Path, dir) {
		t.Fatalf("took %q", lib.Path)
	}
	for _, d := range libraryDirs(runtime.GOOS, runtime.GOARCH) {
		if !filepath.IsAbs(d) {
			t.Errorf("searches the relative directory %q", d)
		}
	}
}

func TestMissingErrorListsEverything(t *testing.T) {
	unsetEnv(t)
	t.Setenv("AFTONNX_OFFLINE", "1")
	cache := t.TempDir()
	f := finder{o: Options{CacheDir: cache, fetch: newPinned(t, []byte("lib")).fetcher}, probe: func(string) (string, error) {
		return "", errors.New("refused by the test") // whatever this machine has installed
	}}
	_, err := f.find(context.Background())
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a *MissingError", err)
	}
	for _, want := range []string{
		runtime.GOOS + "/" + runtime.GOARCH, MinVersion,
		"option", "AFTONNX_ORT_LIB: not set", "ONNXRUNTIME_SHARED_LIBRARY_PATH: not set", "tried cache", cache, "tried system",
		"not fetched: AFTONNX_OFFLINE=1 forbids it", releaseVersion, npmPackage + "@" + npmVersion,
		"way out: set AFTONNX_ORT_LIB", `run "aftonnx runtime install" without AFTONNX_OFFLINE`, "copy it to",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
}

// A caller that allows no fetching is no user who set a variable: the error blames the right one.
//
// Rule G7 of docs/hostile.md.
func TestMissingErrorSaysWhoForbidsFetching(t *testing.T) {
	unsetEnv(t)
	o := Options{CacheDir: t.TempDir(), Offline: true, fetch: newPinned(t, []byte("lib")).fetcher}
	for _, value := range []string{"", "0"} {
		t.Setenv(envOffline, value)
		_, err := Fetch(context.Background(), o)
		if err == nil || strings.Contains(err.Error(), envOffline) ||
			!strings.Contains(err.Error(), "not fetched: fetching is not allowed here (offline)") ||
			!strings.Contains(err.Error(), `way out: have it fetched: run "aftonnx runtime install"`) {
			t.Errorf("%s=%q: %v", envOffline, value, err)
		}
	}
}

func TestCacheIsCheckedOnEveryUse(t *testing.T) {
	lib := []byte("the library")
	p := newPinned(t, lib)
	p.serveArchive(t)
	o, told := p.options(t)
	first, err := Fetch(context.Background(), o)
	if err != nil || first.Source != SourceRelease {
		t.Fatalf("first: %+v, %v", first, err)
	}
	again, err := Fetch(context.Background(), o)
	if err != nil || again.Source != SourceCache || again.Path != first.Path || again.Version != releaseVersion {
		t.Fatalf("again: %+v, %v", again, err)
	}

	for name, damage := range map[string][]byte{"changed": []byte("the librarX"), "cut": []byte("the lib"), "empty": {}} {
		if err := os.WriteFile(first.Path, damage, 0o666); err != nil {
			t.Fatal(err)
		}
		offline := o
		offline.Offline = true
		if _, err := Fetch(context.Background(), offline); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s, offline: %v, want an error that says so", name, err)
		}
		*told = nil
		if got, err := Fetch(context.Background(), o); err != nil || got.Source != SourceRelease {
			t.Errorf("%s: %+v, %v, want it fetched again", name, got, err)
		}
		if text := strings.Join(*told, "\n"); !strings.Contains(text, "will be fetched again: damaged") || !strings.Contains(text, "fetching") {
			t.Errorf("%s: the user was told %q", name, text)
		}
		if data, err := os.ReadFile(first.Path); err != nil || string(data) != string(lib) {
			t.Errorf("%s: cache holds %q, %v", name, data, err)
		}
	}
}

func TestRecent(t *testing.T) {
	for version, want := range map[string]bool{
		"1.24.0": true, "1.24": true, "1.30.1": true, "2.0.0": true, "1.100.0": true, "1.25.0-dev": true,
		"1.23.9": false, "0.99.0": false, "": false, "1": false, "x.y": false, "1.x.3": false,
	} {
		if got := recent(version); got != want {
			t.Errorf("recent(%q) = %v, want %v", version, got, want)
		}
	}
}
