package checkpoint

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// weightsIn picks the file to read of a directory as Hugging Face's libraries lay it out. For each format there is one file,
// or the index of its shards: both together are two answers to one question, and refused. safetensors comes before
// PyTorch, as a second copy of the same weights is what people keep for older programs; notes say what was not read.
func weightsIn(dir string) (name string, notes []string, err error) {
	for _, candidates := range [][2]string{
		{"model.safetensors", "model.safetensors.index.json"},
		{"pytorch_model.bin", "pytorch_model.bin.index.json"},
	} {
		var present []string
		for _, c := range candidates {
			if _, err := os.Stat(filepath.Join(dir, c)); err == nil {
				present = append(present, c)
			}
		}
		switch {
		case len(present) > 0 && name != "":
			notes = append(notes, strings.Join(present, " and ")+" is there too and was not read")
		case len(present) > 1:
			return "", nil, &Error{Found: "both " + strconv.Quote(present[0]) + " and " + strconv.Quote(present[1]),
				Allowed: "one of them: give the path of the file that is meant"}
		case len(present) == 1:
			name = present[0]
		}
	}
	if name == "" {
		if _, err := os.Stat(filepath.Join(dir, ".metadata")); err == nil {
			return "", nil, &Error{Found: "a distributed checkpoint of PyTorch's", Allowed: "one file, made of it by: " +
				"python3 -m torch.distributed.checkpoint.format_utils dcp_to_torch DIRECTORY FILE"}
		}
		return "", nil, &Error{Found: "a directory without weights", Allowed: "a regular file, or a directory with " +
			"model.safetensors, pytorch_model.bin, or the .index.json of their shards"}
	}
	return name, notes, nil
}

// root is a directory that nothing is opened outside of.
type root struct {
	*os.Root
	prefix string // of names in the index's directory, seen from the root
}

// openRoot opens the directory that shards must lie in. In the cache of Hugging Face's hub,
//
//	models--NAME/blobs/HASH
//	models--NAME/snapshots/COMMIT/model-00001-of-00002.safetensors -> ../../blobs/HASH
//
// every file is a link, and the model's directory is the one not to leave.
func openRoot(dir string) (*root, error) {
	path, prefix := filepath.Clean(dir), ""
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		if real, err = filepath.Abs(real); err == nil {
			snapshots := filepath.Dir(real)
			model := filepath.Dir(snapshots)
			blobs, err := os.Stat(filepath.Join(model, "blobs"))
			if err == nil && blobs.IsDir() && filepath.Base(snapshots) == "snapshots" {
				path, prefix = model, "snapshots/"+filepath.Base(real)+"/"
			}
		}
	}
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, systemError(err)
	}
	return &root{Root: r, prefix: prefix}, nil
}

// open opens a regular file for reading, by a name that checkShardName has passed. Links are followed inside the root
// only, which the system sees to. A file with a second name may be one that the directory's owner never chose to share.
func (r *root) open(name string) (*os.File, int64, error) {
	f, err := r.OpenFile(r.prefix+name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		if link, e := r.Lstat(r.prefix + name); e == nil && link.Mode()&os.ModeSymlink != 0 {
			return nil, 0, &Error{Found: "a link to something that is not there, or not in this directory",
				Allowed: "the file itself", cause: err}
		}
		return nil, 0, systemError(err)
	}
	stat, err := regular(f)
	if n := uint64(0); err == nil {
		if n = hardLinks(stat); n > 1 {
			err = &Error{Found: "a file with " + strconv.FormatUint(n, 10) + " hard links",
				Allowed: "a file of its own: copy it"}
		}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, stat.Size(), nil
}
