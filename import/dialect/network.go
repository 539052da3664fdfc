package dialect

import (
	"slices"
	"strconv"
	"strings"
)

// network is one naming of what stands around the layers of a whole model. Names of weights are without ".weight" where they
// may have a ".bias" too.
type network struct {
	dialect string // of the layers
	block   string // what stands before the number of a block
	layer   string // what stands between the number and the layer's own tensors

	norm1, norm2, up, down string // within a block

	embed, positions  string   // of tokens
	patch, classToken string   // of images
	imagePositions    string   // (N,D) or (1,N,D)
	norm              string   // behind the last block
	heads             []string // whichever is there
	tied              bool     // a language model without a head means one that is tied to its embedding
}

// networks is the table.
func networks() []network {
	return []network{
		{
			dialect: "aftonnx", block: "layers.", layer: ".",
			norm1: ".norm1", norm2: ".norm2", up: ".fc1", down: ".fc2",
			embed: "embed.weight", positions: "positions.weight",
			patch: "patch", classToken: "class_token", imagePositions: "positions.weight",
			norm: "norm", heads: []string{"head"}, tied: true,
		},
		{
			// AFTLanguageModel and PaperAFTImageClassifier.
			dialect: "su", block: "blocks.", layer: ".aft.",
			norm1: ".norm1", norm2: ".norm2", up: ".ffn.fc1", down: ".ffn.fc2",
			embed: "token_emb.weight", positions: "pos_emb.weight",
			patch: "patch_embed.proj", imagePositions: "position_embedding",
			norm: "norm", heads: []string{"lm_head", "head"},
		},
	}
}

// surroundings are the tensors around the layers of one file.
type surroundings struct {
	network
	root  string // what stands before every name
	names map[string]bool
}

// findSurroundings looks for what stands around layers that were found at these prefixes, in order; nil when there is nothing.
func findSurroundings(names, prefixes []string) *surroundings {
	for _, n := range networks() {
		root, ok := n.root(prefixes)
		if !ok {
			continue
		}
		s := &surroundings{network: n, root: root, names: map[string]bool{}}
		for _, name := range names {
			if rest, ok := strings.CutPrefix(name, root); ok && s.knows(rest, len(prefixes)) {
				s.names[name] = true
			}
		}
		if len(s.names) > 0 {
			return s
		}
	}
	return nil
}

// root is what stands before "layers.0." in every prefix.
func (n *network) root(prefixes []string) (string, bool) {
	root, ok := strings.CutSuffix(prefixes[0], n.block+"0"+n.layer)
	for i, p := range prefixes {
		ok = ok && p == root+n.block+strconv.Itoa(i)+n.layer
	}
	return root, ok
}

// knows reports whether a name after the root is one of the network's.
func (s *surroundings) knows(name string, blocks int) bool {
	if slices.Contains([]string{s.embed, s.positions, s.classToken, s.imagePositions}, name) {
		return true
	}
	of := append([]string{s.patch, s.norm}, s.heads...)
	if rest, ok := strings.CutPrefix(name, s.block); ok {
		number, _, _ := strings.Cut(rest, ".")
		if i, err := strconv.Atoi(number); err != nil || i < 0 || i >= blocks {
			return false
		}
		name, of = rest[len(number):], []string{s.norm1, s.norm2, s.up, s.down}
	}
	stem, isWeight := strings.CutSuffix(name, weight)
	if !isWeight {
		stem, isWeight = strings.CutSuffix(name, ".bias")
	}
	return isWeight && slices.Contains(of, stem)
}

// has reports whether the file has a tensor of that name after the root.
func (s *surroundings) has(name string) bool { return s.names[s.root+name] }

// inBlock is a name within a block, after the root.
func (s *surroundings) inBlock(i int, name string) string { return s.block + strconv.Itoa(i) + name }
