package workflows

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// detailLimit keeps one task's words short: the server takes 20,000 bytes of current details altogether.
const detailLimit = 600

// markdown is the workflow's page in the Temporal Web UI, in the administrator's words: what holds, what waits, since when, what
// to do, and which command answers it.
func (b *board) markdown() string {
	var page strings.Builder
	say(&page, "### %s\n\n", plain(b.heading))
	for _, t := range b.tasks {
		b.line(&page, t)
	}
	return page.String()
}

func (b *board) line(page *strings.Builder, t *backup.Task) {
	mark, state := " ", ""
	switch t.State {
	case backup.Passing, backup.Waived:
		mark = "x"
	case backup.Waiting:
		state = " — **waiting since " + day(t.Since) + "**"
	case backup.Failing:
		state = " — being looked at again"
	case backup.Failed:
		state = " — **given up**"
	}
	say(page, "- [%s] %s%s\n", mark, plain(t.Title), state)
	if t.Detail != "" {
		say(page, "  - %s\n", plain(t.Detail))
	}
	if t.State != backup.Waiting {
		return
	}
	if t.Hint != "" {
		say(page, "  - What to do: %s\n", plain(t.Hint))
	}
	if t.Difference != "" {
		say(page, "  - The difference that waits is `%s`\n", plain(t.Difference))
	}
	if commands := answers(b.tenant, t); commands != "" {
		say(page, "  - Then: %s\n", commands)
	}
	if !t.NextCheck.IsZero() {
		say(page, "  - It goes on by itself when this is mended; the next look is at %s.\n", day(t.NextCheck))
	}
	say(page, "  - Waits until %s.\n", day(t.Deadline))
}

// say writes formatted text. (Not fmt.Fprintf: it formats the same, but to any writer, so workflowcheck cannot vouch for it.)
func say(page *strings.Builder, format string, args ...any) {
	page.WriteString(fmt.Sprintf(format, args...))
}

// answers lists the commands that settle a task.
func answers(tenant string, t *backup.Task) string {
	var commands []string
	for _, a := range t.Actions {
		reason := ""
		if a == backup.Waive {
			reason = ` --reason "..."`
		}
		commands = append(commands, fmt.Sprintf("`holdfast %s %s %s%s`", a, tenant, t.Name, reason))
	}
	return strings.Join(commands, " or ")
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// plain makes text that came from outside harmless inside markdown: one line, no markup, bounded.
func plain(text string) string {
	var out strings.Builder
	for _, r := range text {
		if out.Len() >= detailLimit {
			out.WriteRune('…')
			break
		}
		switch {
		case strings.ContainsRune("\\`*_[]<>|#!", r):
			out.WriteRune('\\')
			out.WriteRune(r)
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r): // line breaks, and what changes the direction of writing
			out.WriteRune(' ')
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
