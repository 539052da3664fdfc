package ort

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Source is where a library came from, or was looked for.
type Source string

// The sources, in the order in which they are asked.
const (
	SourceOption  Source = "option"                          // Options.Library
	SourceEnv     Source = "AFTONNX_ORT_LIB"                 // this project's environment variable
	SourceEnvOrt  Source = "ONNXRUNTIME_SHARED_LIBRARY_PATH" // the environment variable other programs use
	SourceCache   Source = "cache"                           // fetched earlier
	SourceSystem  Source = "system"                          // the system's library directories
	SourceRelease Source = "release archive"                 // fetched from the project's releases
	SourceNPM     Source = "npm package"                     // fetched through the npm client
)

// Options say where Open, Find and Fetch look.
type Options struct {
	Library  string       // path of the library; "": search
	Offline  bool         // never fetch; AFTONNX_OFFLINE=1 does the same
	CacheDir string       // where fetched libraries are kept; "": "aftonnx" in the user's cache directory
	Notify   func(string) // told what is fetched and how big it is, one line a call; nil: nobody is told

	fetch *fetcher // nil: the real addresses and sums
}

// Library is a library file that was found.
type Library struct {
	Path    string
	Source  Source
	Version string // "" when it was not loaded (a build without cgo) and its file does not say
}

// Find returns the library that Open would use, fetching it if need be. With cgo it loads a library that is not pinned,
// to ask for its version.
//
// Errors: *MissingError with everything that was tried; *VersionError for a library that was named and is too old.
func Find(ctx context.Context, o Options) (Library, error) {
	f := finder{o: o, probe: prober()}
	return f.find(ctx)
}

// Fetch puts the library into the cache, whatever else the system has, and returns it; an intact copy is kept.
//
// Errors: *MissingError, also when fetching is forbidden and the cache has none.
func Fetch(ctx context.Context, o Options) (Library, error) {
	f := finder{o: o, probe: prober()}
	if lib, ok := f.fromCache(); ok {
		return lib, nil
	}
	return f.fromNetwork(ctx)
}

// finder is one search. probe loads a file and returns its version; nil where there is no cgo.
type finder struct {
	o     Options
	probe func(path string) (string, error)
	tried []Attempt
}

func (f *finder) find(ctx context.Context) (Library, error) {
	if lib, ok, err := f.fromUser(); ok || err != nil {
		return lib, err
	}
	if lib, ok := f.fromCache(); ok {
		return lib, nil
	}
	if lib, ok := f.fromSystem(); ok {
		return lib, nil
	}
	return f.fromNetwork(ctx)
}

func (f *finder) fail(s Source, place string, err error) {
	f.tried = append(f.tried, Attempt{Source: s, Place: place, Err: err})
}

var errNotSet = errors.New("not set")

// fromUser takes the path that the caller or the environment names. Whoever names a library wants that one: if it does
// not work, that is an error.
func (f *finder) fromUser() (Library, bool, error) {
	given := []struct {
		source Source
		path   string
	}{
		{SourceOption, f.o.Library},
		{SourceEnv, os.Getenv(string(SourceEnv))},
		{SourceEnvOrt, os.Getenv(string(SourceEnvOrt))},
	}
	for _, g := range given {
		if g.path == "" {
			f.fail(g.source, "", errNotSet)
			continue
		}
		// A relative path in the environment would mean another file in every directory.
		path, err := filepath.Abs(g.path)
		if g.source != SourceOption && !filepath.IsAbs(g.path) {
			err = errors.New("is not an absolute path")
		}
		var version string
		if err == nil {
			version, err = f.check(path)
		}
		var old *VersionError
		if errors.As(err, &old) {
			return Library{}, false, err
		}
		if err != nil {
			f.fail(g.source, g.path, err)
			return Library{}, false, f.unusable(g.source)
		}
		return Library{Path: path, Source: g.source, Version: version}, true, nil
	}
	return Library{}, false, nil
}

// check opens a candidate that no sum is known for.
func (f *finder) check(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", cause(err)
	case info.IsDir():
		return "", fmt.Errorf("is a directory, want the library file, such as %s", libraryNames(runtime.GOOS)[0])
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("is not a regular file (%s)", info.Mode().Type())
	}
	if f.probe == nil {
		return "", nil
	}
	version, err := f.probe(path)
	if err != nil {
		return "", explainMachine(path, err)
	}
	if !recent(version) {
		return "", &VersionError{Library: path, Found: version}
	}
	return version, nil
}

// explainMachine says what a library for another processor is; the system's loader may say only that it is not there.
func explainMachine(path string, err error) error {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	file, elfErr := elf.Open(path)
	if elfErr != nil {
		return err
	}
	defer file.Close()
	if want, ok := machines[runtime.GOARCH]; ok && file.Machine != want {
		return fmt.Errorf("is built for %s, want %s", file.Machine, want)
	}
	return err
}

// recent reports whether a version string such as "1.24.3" is at least MinVersion.
func recent(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major > 1 || major == 1 && minor >= 24)
}

// fromSystem looks into the directories where installers put libraries, and nowhere else.
func (f *finder) fromSystem() (Library, bool) {
	dirs := libraryDirs(runtime.GOOS, runtime.GOARCH)
	found := false
	for _, dir := range dirs {
		for _, name := range libraryNames(runtime.GOOS) {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err != nil {
				continue
			}
			found = true
			version, err := f.check(path)
			if err == nil {
				return Library{Path: path, Source: SourceSystem, Version: version}, true
			}
			f.fail(SourceSystem, path, err)
		}
	}
	if !found {
		f.fail(SourceSystem, strings.Join(dirs, string(filepath.ListSeparator)), fmt.Errorf("no %s there",
			strings.Join(libraryNames(runtime.GOOS), " or ")))
	}
	return Library{}, false
}

func libraryNames(goos string) []string {
	switch goos {
	case "darwin":
		return []string{"libonnxruntime.dylib"}
	case "windows":
		return []string{"onnxruntime.dll"}
	}
	return []string{"libonnxruntime.so", "libonnxruntime.so.1"}
}

// libraryDirs leaves out Windows' system32 on purpose: the onnxruntime.dll there belongs to the system and is old.
func libraryDirs(goos, goarch string) []string {
	switch goos {
	case "darwin":
		return []string{"/usr/local/lib", "/opt/homebrew/lib", "/opt/local/lib"}
	case "windows":
		return []string{`C:\Program Files\onnxruntime\lib`, `C:\Program Files\onnxruntime`}
	}
	triple := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[goarch]
	dirs := []string{"/usr/local/lib", "/usr/local/lib64", "/opt/onnxruntime/lib", "/usr/lib64", "/usr/lib"}
	if triple != "" {
		dirs = append(dirs, "/usr/lib/"+triple)
	}
	return dirs
}

// cacheDir is where fetched libraries live.
func (f *finder) cacheDir() (string, error) {
	dir := f.o.CacheDir
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "aftonnx")
	}
	dir, err := filepath.Abs(dir)
	return filepath.Join(dir, "onnxruntime"), err
}

// fromCache returns a library fetched earlier, its sum checked again: the file may have been cut short or changed since.
func (f *finder) fromCache() (Library, bool) {
	dir, err := f.cacheDir()
	if err != nil {
		f.fail(SourceCache, "", err)
		return Library{}, false
	}
	for _, c := range f.fetcher().downloads() {
		path := c.path(dir)
		err := checkSum(path, c.lib.sha256)
		if err == nil {
			return Library{Path: path, Source: SourceCache, Version: c.version}, true
		}
		if !errors.Is(err, fs.ErrNotExist) && f.forbidden() == "" {
			f.notify("cached ONNX Runtime %q will be fetched again: %v", path, err)
		}
		f.fail(SourceCache, path, err)
	}
	return Library{}, false
}

// checkSum holds the SHA-256 of a file against want.
func checkSum(path, want string) error {
	file, err := os.Open(path)
	if err != nil {
		return cause(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return cause(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("damaged: its SHA-256 is %s, want %s", got, want)
	}
	return nil
}

// envOffline forbids fetching when it is set to anything but a word for false.
const envOffline = "AFTONNX_OFFLINE"

// forbidden says who forbids fetching, "" if nobody does. The environment comes first: the way out differs.
func (f *finder) forbidden() string {
	switch {
	case offlineEnv():
		return fmt.Sprintf("%s=%s forbids it", envOffline, os.Getenv(envOffline))
	case f.o.Offline:
		return "fetching is not allowed here (offline)"
	}
	return ""
}

func offlineEnv() bool {
	v := os.Getenv(envOffline)
	off, err := strconv.ParseBool(v)
	return off || v != "" && err != nil
}

func (f *finder) notify(format string, args ...any) {
	if f.o.Notify != nil {
		f.o.Notify(fmt.Sprintf(format, args...))
	}
}

// unusable is the error of a library that was named and does not work.
func (f *finder) unusable(s Source) error {
	e := newMissingError(f.tried)
	e.WaysOut = append(e.WaysOut, fmt.Sprintf("name the file %s of version %s or newer there",
		libraryNames(runtime.GOOS)[0], MinVersion))
	if s != SourceOption {
		e.WaysOut = append(e.WaysOut, fmt.Sprintf("unset %s: the library is then searched for, or fetched", s))
	}
	return e
}

func newMissingError(tried []Attempt) *MissingError {
	return &MissingError{Platform: runtime.GOOS + "/" + runtime.GOARCH, Tried: tried}
}

// missing is the error of a search that found nothing.
func (f *finder) missing() error {
	e := newMissingError(f.tried)
	e.WaysOut = append(e.WaysOut, fmt.Sprintf("set %s to the path of %s, version %s or newer",
		SourceEnv, libraryNames(runtime.GOOS)[0], MinVersion))
	if f.forbidden() != "" && len(f.fetcher().downloads()) > 0 {
		way := "have it fetched: run \"aftonnx runtime install\""
		if offlineEnv() {
			way += fmt.Sprintf(" without %s in the environment", envOffline)
		}
		e.WaysOut = append(e.WaysOut, way)
	}
	dir, err := f.cacheDir()
	for _, c := range f.fetcher().downloads() {
		if err == nil {
			e.WaysOut = append(e.WaysOut, fmt.Sprintf("take %s from %s on a machine with access and copy it to %q",
				c.lib.member, c.from, c.path(dir)))
		}
	}
	return e
}

// cause drops the operation and path that the message names already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
