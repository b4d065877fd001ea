package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Figures are what one run cost. What does not apply to it is zero and left out.
type Figures struct {
	Seconds float64 `json:"seconds"` // on the wall
	// CPUSeconds and PeakMB (millions of bytes) are those of the program: the worker's process or kopia's.
	CPUSeconds float64 `json:"cpuSeconds,omitempty"`
	PeakMB     float64 `json:"peakMB,omitempty"`
	// SandboxCPUSeconds went into playing Microsoft 365, OtherCPUSeconds into Temporal's server, gateway and connector.
	SandboxCPUSeconds float64 `json:"sandboxCPUSeconds,omitempty"`
	OtherCPUSeconds   float64 `json:"otherCPUSeconds,omitempty"`
	RepositoryMB      float64 `json:"repositoryMB,omitempty"` // afterwards
	// APICalls are the requests that the sandbox received, those for tokens included.
	APICalls  int64 `json:"apiCalls,omitempty"`
	Stored    int64 `json:"stored,omitempty"`
	Unchanged int64 `json:"unchanged,omitempty"`
	Skipped   int64 `json:"skipped,omitempty"`
	// Events and HistoryBytes are the run's workflow history; Actions is by how much the server's counter grew, trigger included.
	Events        int64            `json:"events,omitempty"`
	HistoryBytes  int64            `json:"historyBytes,omitempty"`
	Actions       int64            `json:"actions,omitempty"`
	ActionsByKind map[string]int64 `json:"actionsByKind,omitempty"`

	bytes int64 // read from the sandbox
}

// Repetition is everything once.
type Repetition struct {
	Load              string  `json:"load"` // of the machine at the beginning, over a minute
	HoldfastFirst     Figures `json:"holdfastFirst"`
	KopiaFirst        Figures `json:"kopiaFirst"`
	Download          Figures `json:"download"`
	HoldfastUnchanged Figures `json:"holdfastUnchanged"`
	KopiaUnchanged    Figures `json:"kopiaUnchanged"`
}

// Ratios compare wall times, and one time CPU times, within one repetition: what the machine did at the time falls on both sides.
type Ratios struct {
	// FirstToKopia is ours to kopia's; FirstToLimit ours to the slower of download and kopia, which a perfect pipeline with processors to
	// spare would reach; FirstToSum ours to download and kopia one after the other, as a person with a script would do it.
	FirstToKopia     float64 `json:"firstToKopia"`
	FirstToLimit     float64 `json:"firstToLimit"`
	FirstToSum       float64 `json:"firstToSum"`
	FirstCPUToKopia  float64 `json:"firstCPUToKopia"`
	UnchangedToKopia float64 `json:"unchangedToKopia"`
}

// Report is what is printed.
type Report struct {
	Date    time.Time `json:"date"`
	Machine string    `json:"machine"`
	// Latency is in seconds, an answer.
	Latency float64 `json:"latency,omitempty"`
	People  int     `json:"people"`
	// Messages, Files and MB are the company's.
	Messages    int64        `json:"messages"`
	Files       int64        `json:"files"`
	MB          float64      `json:"mb"`
	Ratios      Ratios       `json:"ratios"`  // medians
	Medians     Repetition   `json:"medians"` // each figure's own
	Repetitions []Repetition `json:"repetitions"`
}

func newReport(p plan, d dataset) *Report {
	return &Report{Date: time.Now().UTC().Truncate(time.Second), Machine: machine(), Latency: p.Latency.Seconds(), People: p.People, Messages: d.Messages, Files: d.Files, MB: megabytes(d.Bytes)}
}

// machine names the processor.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s/%s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH)
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

// conclude makes medians and ratios of the repetitions.
func (r *Report) conclude() {
	r.Medians = medians(r.Repetitions)
	var ratios []Ratios
	for _, n := range r.Repetitions {
		ours, kopia, download := n.HoldfastFirst.Seconds, n.KopiaFirst.Seconds, n.Download.Seconds
		ratios = append(ratios, Ratios{
			FirstToKopia: ours / kopia, FirstToLimit: ours / max(kopia, download), FirstToSum: ours / (kopia + download),
			FirstCPUToKopia:  n.HoldfastFirst.CPUSeconds / n.KopiaFirst.CPUSeconds,
			UnchangedToKopia: n.HoldfastUnchanged.Seconds / n.KopiaUnchanged.Seconds,
		})
	}
	r.Ratios = medians(ratios)
}

// medians takes the median of every number in structs of the same kind, structs in them included.
func medians[T any](of []T) (m T) {
	all := make([]reflect.Value, len(of))
	for i := range of {
		all[i] = reflect.ValueOf(of[i])
	}
	setMedians(reflect.ValueOf(&m).Elem(), all)
	return m
}

func setMedians(into reflect.Value, of []reflect.Value) {
	for i := range into.NumField() {
		field := into.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		column := make([]reflect.Value, len(of))
		for n, v := range of {
			column[n] = v.Field(i)
		}
		switch field.Type.Kind() {
		case reflect.Struct:
			setMedians(into.Field(i), column)
		case reflect.Float64:
			into.Field(i).SetFloat(median(column, reflect.Value.Float))
		case reflect.Int64:
			into.Field(i).SetInt(median(column, reflect.Value.Int))
		}
	}
}

func median[N cmp.Ordered](column []reflect.Value, get func(reflect.Value) N) (middle N) {
	numbers := make([]N, len(column))
	for i, v := range column {
		numbers[i] = get(v)
	}
	slices.Sort(numbers)
	if len(numbers) > 0 {
		middle = numbers[len(numbers)/2]
	}
	return middle
}

// table prints the medians for a person.
func (r *Report) table(w io.Writer) error {
	fmt.Fprintf(w, "%d people, %d messages, %d files, %.1f MB", r.People, r.Messages, r.Files, r.MB)
	if r.Latency > 0 {
		fmt.Fprintf(w, ", %.0f ms an answer", r.Latency*1000)
	}
	fmt.Fprintf(w, "; medians of %d repetitions, %s\n\n", len(r.Repetitions), r.Machine)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\twall s\tMB/s\tCPU s\tpeak MB\tsandbox CPU s\tother CPU s\trepository MB\tAPI calls\tevents\thistory B\tactions\t")
	m := r.Medians
	for _, row := range []struct {
		name  string
		moved float64 // MB
		Figures
	}{
		{"holdfast, first run", r.MB, m.HoldfastFirst}, {"kopia, first snapshot", r.MB, m.KopiaFirst}, {"download only", r.MB, m.Download},
		{"holdfast, no changes", 0, m.HoldfastUnchanged}, {"kopia, no changes", 0, m.KopiaUnchanged},
	} {
		f := row.Figures
		fmt.Fprintf(t, "%s\t%.2f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", row.name, f.Seconds, number("%.0f", row.moved/f.Seconds), number("%.2f", f.CPUSeconds), number("%.0f", f.PeakMB),
			number("%.2f", f.SandboxCPUSeconds), number("%.2f", f.OtherCPUSeconds), number("%.1f", f.RepositoryMB), number("%.0f", float64(f.APICalls)), number("%.0f", float64(f.Events)),
			number("%.0f", float64(f.HistoryBytes)), number("%.0f", float64(f.Actions)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, `
ratios of wall times, medians of the repetitions' own:
  first run to kopia                                  %.2f
  first run to the slower of download and kopia       %.2f
  first run to download, then kopia                   %.2f
  no changes to kopia                                 %.2f
ratio of CPU times, worker to kopia, first run        %.2f
`, r.Ratios.FirstToKopia, r.Ratios.FirstToLimit, r.Ratios.FirstToSum, r.Ratios.UnchangedToKopia, r.Ratios.FirstCPUToKopia)
	return nil
}

// number leaves out what does not apply.
func number(format string, n float64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf(format, n)
}
