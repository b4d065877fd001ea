package main

// The rules for everything this program says:
//
//   - Standard output carries what was asked for, standard error carries progress and errors. Both may be piped.
//   - A sentence says what happened. A line that begins with "next:" says what to type.
//   - An error says what happened first, then what to type next. It never shows a Go type, a stack or a secret.
//   - Words carry the meaning; colour only helps, on a terminal, unless NO_COLOR is set (https://no-color.org).
//   - Progress that redraws itself is for terminals. Elsewhere each change is one line.
//   - Text that came from a directory, a mailbox or a vendor is untrusted: control characters never reach the terminal.
//   - With --json standard output is one JSON document, whose names are kept; an error is one on standard error.
//   - Times are the reader's local time to the minute; sizes are in decimal units.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
)

// say prints one line of the answer.
func (p *program) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// next tells what to type.
func (p *program) next(command string) { p.say("next: %s", command) }

// progress prints one line beside the answer; silent with --json.
func (p *program) progress(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.err, format+"\n", args...)
	}
}

// emit prints the JSON document.
func (p *program) emit(v any) error {
	e := json.NewEncoder(p.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table aligns rows below a heading; a nil heading continues a table on its next page.
func (p *program) table(heading []string, rows [][]string) {
	var aligned strings.Builder
	w := tabwriter.NewWriter(&aligned, 0, 8, 2, ' ', 0)
	if heading != nil {
		fmt.Fprintln(w, strings.ToUpper(strings.Join(heading, "\t")))
	}
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush() // a Builder takes everything
	for line := range strings.Lines(aligned.String()) {
		p.say("%s", strings.TrimRight(line, " \n"))
	}
}

// report says how a command failed, and gives the exit code.
func (p *program) report(err error) int {
	code := exitCode(err)
	var o outcome
	if err == nil || errors.As(err, &o) {
		return code
	}
	said := explain(err, code, p)
	if p.json {
		e := json.NewEncoder(p.err)
		e.SetEscapeHTML(false)
		_ = e.Encode(map[string]any{"error": said}) // there is nowhere left to say that saying failed
		return code
	}
	fmt.Fprintf(p.err, "holdfast: %s\n", clean(said.Message))
	for _, problem := range said.Problems {
		fmt.Fprintf(p.err, "  %s:%d:%d: %s\n", said.File, problem.Line, problem.Column, describe(problem))
		if problem.Fix != "" {
			fmt.Fprintf(p.err, "      write: %s\n", problem.Fix)
		}
	}
	for line := range strings.Lines(said.Hint) {
		fmt.Fprintf(p.err, "next: %s\n", clean(strings.TrimSpace(line)))
	}
	return code
}

// failureText is an error as a person, or a script, gets it.
type failureText struct {
	ExitCode int                  `json:"exitCode"`
	Code     backup.Code          `json:"code,omitempty"`
	Message  string               `json:"message"`
	Hint     string               `json:"hint,omitempty"`
	File     string               `json:"file,omitempty"`
	Problems []tenantfile.Problem `json:"problems,omitempty"`
}

func explain(err error, code int, p *program) failureText {
	said := failureText{ExitCode: code, Message: err.Error()}
	var e *backup.Error
	var problems *tenantfile.Problems
	var file *fs.PathError
	switch {
	case errors.As(err, &problems):
		said.File, said.Problems = problems.File, problems.List
		said.Hint = "holdfast apply -f " + problems.File + "   (docs/tenant.example.yaml shows every field)"
	case errors.As(err, &file):
		said.Message, said.Hint = fmt.Sprintf("%s cannot be read: %v", file.Path, file.Err), "holdfast apply -f FILE"
	case errors.As(err, &e):
		said.Code, said.Message, said.Hint = e.Code, e.Error(), e.Hint
	}
	switch code {
	case exitUsage:
		said.Hint = "holdfast --help"
		if p.command != "" {
			said.Hint = p.command + " --help"
		}
	case exitInterrupted:
		said.Message, said.Hint = "interrupted; what was started goes on", ""
	case exitUnreachable:
		said.Hint = p.startHint(said.Hint)
	}
	return said
}

func describe(p tenantfile.Problem) string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// clean keeps untrusted text on its line: control and direction characters become spaces, invalid bytes a mark.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
			return ' '
		}
		return r
	}, s)
}

// colour wraps text when colours are wanted.
func (p *program) colour(c, text string) string {
	if !p.colours {
		return text
	}
	return c + text + "\x1b[0m"
}

const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	faint  = "\x1b[2m"
)

// when writes a time, or a dash for none.
func (p *program) when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(p.zone).Format("2006-01-02 15:04")
}

// about rounds a duration to what a person needs.
func about(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// size writes bytes in decimal units.
func size(n int64) string {
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	return fmt.Sprintf("%.3g %s", f, units[i])
}

func people(n int) string {
	if n == 1 {
		return "1 person"
	}
	return fmt.Sprintf("%d people", n)
}

// jsonList streams {"NAME":[...]} so that a long list is never held as a whole.
type jsonList struct {
	w     io.Writer
	first bool
}

func startList(w io.Writer, name string) *jsonList {
	fmt.Fprintf(w, "{\n  %q: [", name)
	return &jsonList{w, true}
}

func (l *jsonList) add(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	separator := ",\n    "
	if l.first {
		separator, l.first = "\n    ", false
	}
	_, err = fmt.Fprintf(l.w, "%s%s", separator, b)
	return err
}

func (l *jsonList) end() error {
	_, err := fmt.Fprint(l.w, "\n  ]\n}\n")
	return err
}
