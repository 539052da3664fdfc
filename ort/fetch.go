package ort

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/aftonnx/aftonnx/internal/atomicfile"
)

// fetcher is where libraries are fetched from.
type fetcher struct {
	pins        platformPins
	releaseBase string
	npm         []string // the npm client and its first arguments
	integrity   string   // SHA-512 of the npm package, base64
	npmBytes    int64
	connect     time.Duration // to reach the release's host
	stall       time.Duration // without a byte
}

// fetcher returns the one that the options carry, else the real one.
func (f *finder) fetcher() *fetcher {
	if f.o.fetch != nil {
		return f.o.fetch
	}
	return &fetcher{
		pins:        pins(runtime.GOOS, runtime.GOARCH),
		releaseBase: releaseBase,
		npm:         []string{"npm"},
		integrity:   npmIntegrity,
		npmBytes:    npmBytes,
		connect:     3 * time.Second,
		stall:       30 * time.Second,
	}
}

// download is one way to get a library: from where, which file, and how.
type download struct {
	source  Source
	version string
	from    string // an address or a package, for messages
	bytes   int64  // to be transferred
	lib     filePin
	get     func(ctx context.Context) ([]byte, error)
}

// path is where the cache keeps it: one directory a version and source, so that their files never meet.
func (d *download) path(dir string) string {
	kind := "release"
	if d.source == SourceNPM {
		kind = "npm"
	}
	return filepath.Join(dir, d.version+"-"+kind, path.Base(d.lib.member))
}

// downloads lists the ways for this platform, best first. The release archive is a tenth of the npm package's size.
func (f *fetcher) downloads() []download {
	var all []download
	if r := f.pins.release; r != nil {
		url := f.releaseBase + "/v" + releaseVersion + "/" + r.asset
		all = append(all, download{
			source: SourceRelease, version: releaseVersion, from: url, bytes: r.bytes, lib: r.lib,
			get: func(ctx context.Context) ([]byte, error) { return f.getRelease(ctx, url, r) },
		})
	}
	if n := f.pins.npm; n != nil {
		all = append(all, download{
			source: SourceNPM, version: npmVersion, from: npmPackage + "@" + npmVersion, bytes: f.npmBytes, lib: *n,
			get: func(ctx context.Context) ([]byte, error) { return f.getNPM(ctx, n) },
		})
	}
	return all
}

// fromNetwork fetches from the first source that answers and stores the library in the cache.
func (f *finder) fromNetwork(ctx context.Context) (Library, error) {
	downloads := f.fetcher().downloads()
	if len(downloads) == 0 {
		f.fail(SourceRelease, "", errors.New("none is published for this platform"))
		return Library{}, f.missing()
	}
	for i, d := range downloads {
		if reason := f.forbidden(); reason != "" {
			f.fail(d.source, d.from, fmt.Errorf("not fetched: %s", reason))
			continue
		}
		lib, err := f.store(ctx, &d)
		if err == nil {
			return lib, nil
		}
		if ctx.Err() != nil {
			return Library{}, fmt.Errorf("fetching ONNX Runtime: %w", context.Cause(ctx))
		}
		f.fail(d.source, d.from, err)
		if i+1 < len(downloads) {
			f.notify("%s: %v; trying the %s", d.source, err, downloads[i+1].source)
		}
	}
	return Library{}, f.missing()
}

// store gets one library and puts it into the cache. Another process may do the same: both write a file of their own and
// rename it, and both files are the same.
func (f *finder) store(ctx context.Context, d *download) (Library, error) {
	dir, err := f.cacheDir()
	if err != nil {
		return Library{}, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil { // better known before the transfer
		return Library{}, fmt.Errorf("cache: %w", err)
	}
	f.notify("fetching ONNX Runtime %s (%.0f MB) from %s", d.version, float64(d.bytes)/1e6, d.from)
	data, err := d.get(ctx)
	if err != nil {
		return Library{}, err
	}
	target := d.path(dir)
	if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
		return Library{}, fmt.Errorf("cache: %w", err)
	}
	if err := atomicfile.Write(target, atomicfile.Options{Force: true}, data); err != nil {
		// On Windows a library in use cannot be replaced; when it is the right one, it need not be.
		if checkSum(target, d.lib.sha256) != nil {
			return Library{}, fmt.Errorf("cache: %w", err)
		}
	}
	f.notify("stored %q", target)
	return Library{Path: target, Source: d.source, Version: d.version}, nil
}

// getRelease fetches and checks a release archive, which never touches the disk.
func (f *fetcher) getRelease(ctx context.Context, url string, pin *releasePin) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(f.stall, func() { cancel(fmt.Errorf("nothing received for %s", f.stall)) })
	defer timer.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := f.client(req.URL.Scheme)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, orCause(ctx, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server says %q", resp.Status)
	}
	body := &progressReader{r: resp.Body, more: func() { timer.Reset(f.stall) }}
	if strings.HasSuffix(pin.asset, ".zip") {
		data, err := readZip(body, pin)
		return data, orCause(ctx, err)
	}
	data, err := readTarball(body, tarball{lib: pin.lib, sha256: pin.sha256, bytes: pin.bytes})
	return data, orCause(ctx, err)
}

// client follows redirects (the archives live on another host) but never from https to anything else.
func (f *fetcher) client(scheme string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{ // the host program may have put anything in the place of http.DefaultTransport
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: f.connect}).DialContext,
			TLSHandshakeTimeout: f.connect,
			ForceAttemptHTTP2:   true, // else a DialContext turns it off
			DisableCompression:  true, // the sum is that of the bytes as stored
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Scheme != scheme {
				return fmt.Errorf("redirected from %s to %s", scheme, req.URL.Scheme)
			}
			if len(via) >= 5 {
				return errors.New("more than 5 redirects")
			}
			return nil
		},
	}
}

// orCause prefers the reason for which ctx ended: "nothing received for 30s" says more than "context canceled".
func orCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// progressReader calls more whenever something arrived.
type progressReader struct {
	r    io.Reader
	more func()
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if n > 0 {
		p.more()
	}
	return n, err
}

// getNPM has the npm client pack the package into a directory of its own, where no project's settings apply, without
// running any of the package's scripts, and takes the one file out. The client's own cache is there too: nothing of the
// package stays behind.
func (f *fetcher) getNPM(ctx context.Context, lib *filePin) ([]byte, error) {
	npm, err := exec.LookPath(f.npm[0])
	if err != nil {
		return nil, fmt.Errorf("the npm client is not installed: %w", err)
	}
	dir, err := os.MkdirTemp("", "aftonnx-npm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	args := append(append([]string{}, f.npm[1:]...), "pack", npmPackage+"@"+npmVersion, "--ignore-scripts", "--silent",
		"--cache", filepath.Join(dir, "cache"), "--pack-destination", dir)
	cmd := exec.CommandContext(ctx, npm, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	var output tail
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("npm pack: %w%s", err, output.suffix())
	}
	// The name is the client's own; the sums decide what the file is.
	names, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(names) != 1 {
		return nil, fmt.Errorf("npm pack left %d archives, want 1%s", len(names), output.suffix())
	}
	file, err := os.Open(names[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readTarball(file, tarball{lib: *lib, sha512: f.integrity, bytes: f.npmBytes})
}

// tail keeps the last bytes a command wrote.
type tail struct{ buf bytes.Buffer }

const tailSize = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - tailSize; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tail) suffix() string {
	if s := strings.TrimSpace(t.buf.String()); s != "" {
		return ": " + s
	}
	return ""
}
