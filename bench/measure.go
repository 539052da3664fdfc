package bench

import (
	"context"
	"slices"
	"time"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// runner is something that is timed.
type runner struct {
	row   Row // to be completed
	run   func(context.Context) error
	close func()
	peak  int64
	y     *tensor.Tensor // what a run writes; nil where nothing is

	once   time.Duration   // of the run that warms up
	rounds []time.Duration // of the present repeat
	all    []time.Duration
	repeat []time.Duration // the median of every repeat
}

func (r *runner) out() *tensor.Tensor { return r.y }

// Plan says how often.
type Plan struct {
	Repeats int // of the whole, each with a median of its own
	Rounds  int // in which every engine gets its turn
	Runs    int // in a row
}

// runs is how often an engine runs in one turn, and in how many rounds: slow ones less often.
func (p Plan) runs(once time.Duration) (runs, rounds int) {
	switch {
	case once > 2*time.Second:
		return 1, 1
	case once > 200*time.Millisecond:
		return 1, min(2, p.Rounds)
	case once > 50*time.Millisecond:
		return 1, p.Rounds
	default:
		return p.Runs, p.Rounds
	}
}

// interleave times the runners in turns, so that what disturbs the machine for a while disturbs all of them.
func interleave(ctx context.Context, list []*runner, p Plan) error {
	for _, r := range list {
		start := time.Now()
		if err := r.run(ctx); err != nil {
			return err
		}
		r.once = time.Since(start)
	}
	for range p.Repeats {
		for _, r := range list {
			r.rounds = r.rounds[:0]
		}
		for round := range p.Rounds {
			for _, r := range list {
				if err := r.turn(ctx, p, round); err != nil {
					return err
				}
			}
		}
		for _, r := range list {
			r.all = append(r.all, r.rounds...)
			r.repeat = append(r.repeat, median(r.rounds))
		}
	}
	return nil
}

func (r *runner) turn(ctx context.Context, p Plan, round int) error {
	runs, rounds := p.runs(r.once)
	if round >= rounds {
		return nil
	}
	for range runs {
		start := time.Now()
		if err := r.run(ctx); err != nil {
			return err
		}
		r.rounds = append(r.rounds, time.Since(start))
	}
	return ctx.Err()
}

// median of at least one.
func median(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// complete turns the times into the row's figures; base is what the ratio is to.
func (r *runner) complete(base *runner) Row {
	row := r.row
	row.MedianMS, row.BestMS, row.Runs = milliseconds(median(r.repeat)), milliseconds(slices.Min(r.all)), len(r.all)
	row.PeakMiB = float64(r.peak) / (1 << 20)
	var ratios []float64
	for i := range r.repeat {
		ratios = append(ratios, float64(r.repeat[i])/float64(base.repeat[min(i, len(base.repeat)-1)]))
	}
	slices.Sort(ratios)
	row.Ratio = row.MedianMS / milliseconds(median(base.repeat))
	row.Spread = [2]float64{ratios[0], ratios[len(ratios)-1]}
	return row
}
