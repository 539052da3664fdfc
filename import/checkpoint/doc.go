// Package checkpoint reads named tensors out of checkpoint files: PyTorch zip archives, PyTorch's older pickle streams,
// and safetensors, in one file or in shards beside an index. It owns those formats and nothing else: it must not know
// what a tensor is for, which model a name belongs to, or how a value is used.
//
// The kind of a file is decided by its content, never by its name, and only once: there is no second attempt with another
// reader. Open reads the index (zip directory and data.pkl, pickle, or JSON header) and checks all of it; the bytes of
// a tensor are read when Tensor, or a Weight, asks for them: a file of any size opens at once and takes the memory of
// its index.
//
// Files are hostile until checked. The rules that keep that bearable:
//
//   - No size that a file states reaches an allocation before it was compared with the bytes that exist (budget, limits.go).
//   - A pickle is interpreted by a machine that knows a table of opcodes (opcodes.go) and a table of names (globals.go).
//     A name is a key into that table, nothing is imported, and the only things that can be built are numbers, strings,
//     lists, tuples, dicts, sets and views of storages.
//   - What two readers could understand differently is refused: duplicate names, bytes in front of or behind an archive,
//     local headers that disagree with the directory, holes and overlaps.
//   - Names of files come from an index of shards alone. They are plain names in the index's directory, opened through
//     os.Root, so that no link leads out of it (directory.go), and index and shards must agree on every tensor.
//   - A view is checked against its storage once, by newView, before anything can read through it.
//
// A tensor inside dicts, lists and tuples is named by the keys on the way to it, joined with "/": "model/wbias", "1/0".
// A file that is one bare tensor has the single name "".
package checkpoint
