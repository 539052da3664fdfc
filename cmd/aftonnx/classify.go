package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/infer"
	"github.com/aftonnx/aftonnx/task"
	"github.com/aftonnx/aftonnx/verify"
)

type classifyFlags struct {
	infer  inferFlags
	top    int
	size   string
	engine string
}

func (a *app) classifyCommand() *cobra.Command {
	var o classifyFlags
	cmd := &cobra.Command{
		Use:   "classify MODEL IMAGE...",
		Short: "Name what pictures show",
		Long: `Prints the most probable classes of pictures (` + task.Formats + `). MODEL is a checkpoint or an ONNX model that takes
pixel_values of one or three channels and gives logits.

A picture is brought to the size that the model states: the longer sides are cut off evenly, and the rest is scaled. A model
that states none gets the picture in its own size, each side rounded to a multiple of the patch, or in that of --size. What is
transparent lies on white; a model of one channel gets grey. Then x = (v - mean) / std, v in 0..1, with the mean and std that
the model states. Of animations the first frame counts; a camera's note on how to turn a picture is not followed.

` + enginesHelp,
		Args: between(2, 1<<20, "the model and at least one picture"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.classify(cmd, args[0], args[1:], &o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.top, "top", 5, "how many classes to print")
	f.StringVar(&o.size, "size", "", "bring pictures to `H,W` pixels, for a model that takes any size")
	f.StringVar(&o.engine, "engine", "kernel", "kernel, portable, native or reference")
	a.addJSON(f, classifySchema)
	o.infer.add(f)
	return cmd
}

const classifySchema = "aftonnx.classify/1"

// classifyView is the JSON form of classified pictures.
type classifyView struct {
	Schema string         `json:"schema"`
	Model  string         `json:"model"`
	Engine verify.Engine  `json:"engine"`
	Images []classifiedAs `json:"images"`
}

type classifiedAs struct {
	Image  string      `json:"image"`
	Size   [2]int      `json:"size"` // height and width that the model was given
	Labels []classView `json:"labels"`
}

type classView struct {
	Class       int     `json:"class"`
	Label       string  `json:"label,omitempty"`
	Probability float64 `json:"probability"`
	Logit       float64 `json:"logit"`
}

func (a *app) classify(cmd *cobra.Command, path string, images []string, o *classifyFlags) error {
	engine, err := parseEngine(o.engine)
	if err != nil {
		return err
	}
	if o.top < 1 {
		return usagef("--top %d: want 1 or more", o.top)
	}
	size, ok := gridOf(o.size)
	if o.size != "" && !ok {
		return usagef("--size %q: want two positive numbers, H,W", o.size)
	}
	m, err := a.openInference(cmd, path, &o.infer)
	if err != nil {
		return err
	}
	c, err := newClassifier(m, path, size)
	if err != nil {
		return err
	}
	for _, name := range images { // before work starts
		if _, err := readPicture(name); err != nil {
			return err
		}
	}
	session, err := a.load(m, engine, &o.infer)
	if err != nil {
		return err
	}
	defer session.Close()
	view := &classifyView{Schema: classifySchema, Model: path, Engine: engine}
	for i, name := range images {
		a.step(fmt.Sprintf("%d of %d: %s", i+1, len(images), printable(name)))
		classes, err := a.classifyOne(c, session, name, size, o.top)
		if err != nil {
			a.stepsDone()
			return a.engineError(engine, err)
		}
		view.Images = append(view.Images, *classes)
	}
	a.stepsDone()
	return a.printClasses(view)
}

func newClassifier(m *infer.Model, path string, size [2]int) (*task.Classifier, error) {
	facts, err := m.ImageFacts()
	if err != nil {
		return nil, inputf("%q: %w", path, err)
	}
	c, err := task.NewClassifier(m.Ports(), facts)
	if err != nil {
		return nil, inputf("%q: %w", path, err)
	}
	if own := c.Size(); size != [2]int{} && own != [2]int{} && own != size {
		return nil, usagef("--size %d,%d: %q takes %d x %d pixels alone", size[0], size[1], path, own[0], own[1])
	}
	if p := facts.Patch; p > 0 && (size[0]%p != 0 || size[1]%p != 0) {
		return nil, usagef("--size %d,%d: %q takes multiples of its patch, %d", size[0], size[1], path, p)
	}
	return c, nil
}

// maxPicture is how many bytes a picture's file may have.
const maxPicture = 1 << 28

// readPicture reads a file whose header is that of a picture.
func readPicture(path string) ([]byte, error) {
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, inputError(path, err)
	}
	defer f.Close()
	data, err := readLimited(f, fmt.Sprintf("%q", path), maxPicture)
	if err != nil {
		return nil, err
	}
	if _, _, err := task.CheckPicture(data); err != nil {
		return nil, inputf("%q: %w", path, err)
	}
	return data, nil
}

func (a *app) classifyOne(c *task.Classifier, run task.Runner, path string, size [2]int, top int) (*classifiedAs, error) {
	data, err := readPicture(path)
	if err != nil {
		return nil, err
	}
	picture, err := task.Decode(data)
	if err != nil {
		return nil, inputf("%q: %w", path, err)
	}
	bounds := picture.Bounds()
	if size == [2]int{} {
		if size, err = c.SizeFor(bounds.Dy(), bounds.Dx()); err != nil {
			f := inputf("%q: %w", path, err)
			if errors.Is(err, task.ErrTooLarge) && c.Size() == [2]int{} {
				f.hint("--size H,W brings it to another size")
			}
			return nil, f
		}
		if c.Size() == [2]int{} && size != [2]int{bounds.Dy(), bounds.Dx()} {
			a.say("note: %q: is %d x %d pixels, brought to %d x %d, multiples of the model's patch",
				path, bounds.Dy(), bounds.Dx(), size[0], size[1])
		}
	}
	pixels, err := c.Pixels(picture, size)
	if err != nil {
		return nil, usagef("%q: %w", path, err)
	}
	classes, err := c.Classify(a.ctx, run, pixels)
	if err != nil {
		return nil, err
	}
	result := &classifiedAs{Image: path, Size: size}
	for _, k := range classes[:min(top, len(classes))] {
		result.Labels = append(result.Labels, classView{k.Index, k.Label, k.Probability, k.Logit})
	}
	return result, nil
}

func (a *app) printClasses(view *classifyView) error {
	if a.json {
		return a.printJSON(view)
	}
	t := &table{header: []string{"image", "rank", "label", "probability"}}
	for _, image := range view.Images {
		for i, k := range image.Labels {
			label := k.Label
			if label == "" {
				label = fmt.Sprint(k.Class)
			}
			t.add(printable(image.Image), fmt.Sprint(i+1), printable(label), fmt.Sprintf("%.4f", k.Probability))
		}
	}
	a.printTable(t)
	return nil
}
