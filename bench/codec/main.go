// Command codec measures what the encryption of payloads costs: signals to one workflow and activities of one workflow, with the codec and
// without it, in turns, on one real Temporal server.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/payload"
)

// senders is how many signals are sent at once: one at a time, the network's round trip would be measured and nothing else.
const senders = 8

// message is what every signal, argument and result carries: some 300 bytes of JSON, as a decision or a shard's counts have.
type message struct {
	Tenant, Account, Text string
	Number                int
}

func newMessage(n int) message {
	return message{"acme", "anna.of.the.long.name@acme.example", strings.Repeat("counts and codes ", 12), n}
}

// receive ends when it has got as many signals as it is told.
func receive(ctx workflow.Context, count int) (int, error) {
	sum := 0
	for range count {
		var m message
		workflow.GetSignalChannel(ctx, "m").Receive(ctx, &m)
		sum += m.Number
	}
	return sum, nil
}

// fanOut runs activities, all at once.
func fanOut(ctx workflow.Context, count int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var futures []workflow.Future
	for i := range count {
		futures = append(futures, workflow.ExecuteActivity(ctx, echo, newMessage(i)))
	}
	sum := 0
	for _, f := range futures {
		var m message
		if err := f.Get(ctx, &m); err != nil {
			return 0, err
		}
		sum += m.Number
	}
	return sum, nil
}

func echo(_ context.Context, m message) (message, error) { return m, nil }

// side is one of the two that are compared: a client and a worker on a task queue of its own.
type side struct {
	client.Client
	queue string
}

func newSide(ctx context.Context, address, queue string, codec *payload.Codec) (*side, func(), error) {
	o := client.Options{HostPort: address, Logger: silent{}}
	if codec != nil {
		if err := payload.Encrypt(&o, codec); err != nil {
			return nil, nil, err
		}
	}
	c, err := client.DialContext(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflow(receive)
	w.RegisterWorkflow(fanOut)
	w.RegisterActivity(echo)
	if err := w.Start(); err != nil {
		c.Close()
		return nil, nil, err
	}
	return &side{c, queue}, func() { w.Stop(); c.Close() }, nil
}

// sample is one measurement. CPU is of this process: client and worker, without the server.
type sample struct{ Wall, CPU time.Duration }

func measure(f func() error) (sample, error) {
	before, began := cpu(), time.Now()
	err := f()
	return sample{time.Since(began), cpu() - before}, err
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// signals sends to one workflow until it has them all.
func (s *side) signals(ctx context.Context, id string, count int) error {
	run, err := s.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: s.queue}, receive, count)
	if err != nil {
		return err
	}
	numbers := make(chan int)
	failed := make(chan error, senders)
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for n := range numbers {
				if err := s.SignalWorkflow(ctx, id, "", "m", newMessage(n)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	for n := range count {
		select {
		case numbers <- n:
			continue
		case err = <-failed:
		}
		break
	}
	close(numbers)
	sending.Wait()
	if err != nil {
		return err
	}
	return wantSum(ctx, run, count)
}

func (s *side) activities(ctx context.Context, id string, count int) error {
	run, err := s.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: s.queue}, fanOut, count)
	if err != nil {
		return err
	}
	return wantSum(ctx, run, count)
}

// wantSum makes sure that everything arrived.
func wantSum(ctx context.Context, run client.WorkflowRun, count int) error {
	var sum int
	if err := run.Get(ctx, &sum); err != nil {
		return err
	}
	if want := count * (count - 1) / 2; sum != want {
		return fmt.Errorf("%s: the numbers sum up to %d, want %d", run.GetID(), sum, want)
	}
	return nil
}

// row is one kind of work, over all repetitions.
type row struct {
	Work           string
	Count          int
	Plain, Sealed  []sample
	WallRatio      float64 // median of the ratios within a repetition
	CPURatio       float64
	PlainPerSecond float64
	CodecPerSecond float64
}

func main() {
	repeat := flag.Int("repeat", 5, "repetitions; both sides take turns in who begins")
	signalCount := flag.Int("signals", 1000, "signals to one workflow")
	activityCount := flag.Int("activities", 200, "activities of one workflow")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, max(*repeat, 1), *signalCount, *activityCount, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "codec:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, repeat, signalCount, activityCount int, asJSON bool) error {
	folder, err := os.MkdirTemp("", "holdfast-codec-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	server, err := devserver.Start(ctx, devserver.Options{Database: filepath.Join(folder, "temporal.db"), UIPort: -1, Log: io.Discard})
	if err != nil {
		return err
	}
	defer server.Stop()
	plain, endPlain, err := newSide(ctx, server.Address, "plain", nil)
	if err != nil {
		return err
	}
	defer endPlain()
	sealed, endSealed, err := newSide(ctx, server.Address, "sealed", payload.NewCodec(payload.NewKeyring(time.Now())))
	if err != nil {
		return err
	}
	defer endSealed()

	before := load()
	rows := []*row{{Work: "signals to one workflow", Count: signalCount}, {Work: "activities of one workflow", Count: activityCount}}
	work := []func(*side, string, int) error{
		func(s *side, id string, n int) error { return s.signals(ctx, id, n) },
		func(s *side, id string, n int) error { return s.activities(ctx, id, n) },
	}
	for i := range repeat + 1 { // the first one warms up and is not counted
		for k, r := range rows {
			for turn := range 2 {
				side, into := plain, &r.Plain
				if (turn+i)%2 == 1 {
					side, into = sealed, &r.Sealed
				}
				took, err := measure(func() error { return work[k](side, fmt.Sprintf("%s-%d-%d", side.queue, k, i), r.Count) })
				if err != nil {
					return errors.Join(fmt.Errorf("%s, %s", r.Work, side.queue), err)
				}
				if i > 0 {
					*into = append(*into, took)
				}
			}
		}
	}
	for _, r := range rows {
		r.sumUp()
	}
	return report(rows, repeat, before, load(), asJSON)
}

func (r *row) sumUp() {
	var wall, cpu []float64
	for i := range r.Plain {
		wall = append(wall, float64(r.Sealed[i].Wall)/float64(r.Plain[i].Wall))
		cpu = append(cpu, float64(r.Sealed[i].CPU)/float64(r.Plain[i].CPU))
	}
	r.WallRatio, r.CPURatio = median(wall), median(cpu)
	r.PlainPerSecond, r.CodecPerSecond = r.perSecond(r.Plain), r.perSecond(r.Sealed)
}

func (r *row) perSecond(samples []sample) float64 {
	return float64(r.Count) / median(each(samples, func(s sample) float64 { return s.Wall.Seconds() }))
}

func each(samples []sample, f func(sample) float64) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = f(s)
	}
	return out
}

// median of an odd number of values is the middle one, of an even number the mean of the two.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// load is the machine's load average of the last minute, as text.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func report(rows []*row, repeat int, before, after string, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"rows": rows, "repetitions": repeat, "loadBefore": before, "loadAfter": after})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "work\tno codec /s\tcodec /s\twall, codec to none\tclient and worker CPU µs each, none\tcodec\tCPU, codec to none")
	perOne := func(r *row, s []sample) float64 {
		return median(each(s, func(s sample) float64 { return float64(s.CPU.Microseconds()) / float64(r.Count) }))
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%d %s\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.2f\n", r.Count, r.Work, r.PlainPerSecond, r.CodecPerSecond, r.WallRatio, perOne(r, r.Plain), perOne(r, r.Sealed), r.CPURatio)
	}
	fmt.Fprintf(w, "medians of %d repetitions; load before %s, after %s\n", repeat, before, after)
	return w.Flush()
}

// silent keeps the SDK from writing between the figures.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
