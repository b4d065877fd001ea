package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"golang.org/x/term"
)

// narrator prints the story: a heading a scene, a line for everything that was seen to hold. Colours are for terminals.
type narrator struct {
	out    io.Writer
	colour bool
	scenes int
}

func newNarrator(f *os.File) *narrator {
	return &narrator{out: f, colour: term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (n *narrator) scene(title string) {
	n.scenes++
	n.say("\n%s", n.paint("1", fmt.Sprintf("%d. %s", n.scenes, title)))
}

// done tells of something that was checked.
func (n *narrator) done(format string, args ...any) {
	n.say("  %s %s", n.paint("32", "ok"), fmt.Sprintf(format, args...))
}

func (n *narrator) say(format string, args ...any) { fmt.Fprintf(n.out, format+"\n", args...) }

func (n *narrator) paint(code, text string) string {
	if !n.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (n *narrator) printTable(rows [][2]string) {
	w := tabwriter.NewWriter(n.out, 0, 0, 3, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "  %s\t%s\n", r[0], r[1])
	}
	w.Flush()
}
