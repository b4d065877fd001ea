package main

import (
	"context"
	"fmt"
	"time"
)

// looksBetween is how many rounds of p.poll pass between two looks at what something long is doing: a look costs the server work.
const looksBetween = 3

// lookTimeout bounds a look, so that one that hangs does not hide the end of the work.
const lookTimeout = 5 * time.Second

// during does work and shows meanwhile that it goes on: one line that is redrawn on a terminal, one line for each change elsewhere. look
// says what is new; it may be nil and may return nothing.
func (p *program) during(ctx context.Context, what string, work func(context.Context) error, look func(context.Context) string) error {
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	ticker := time.NewTicker(p.poll)
	defer ticker.Stop()
	line := &progressLine{program: p, began: p.now()}
	line.show(what)
	defer line.clear()
	for round := 1; ; round++ {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
		}
		text := line.text
		if look != nil && round%looksBetween == 0 {
			if news := within(ctx, look); news != "" {
				text = news
			}
		}
		line.show(text)
	}
}

func within(ctx context.Context, look func(context.Context) string) string {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return look(ctx)
}

// progressLine is a single line of progress.
type progressLine struct {
	*program
	began time.Time
	text  string
}

func (l *progressLine) show(text string) {
	switch {
	case l.live:
		fmt.Fprintf(l.err, "\r\x1b[2K%s (%s)", text, about(l.now().Sub(l.began)))
	case text != l.text:
		l.progress("%s", text)
	}
	l.text = text
}

func (l *progressLine) clear() {
	if l.live {
		fmt.Fprint(l.err, "\r\x1b[2K")
	}
}
