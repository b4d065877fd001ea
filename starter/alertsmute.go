package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// muteOptions says which alerts of a kind are meant; without a subject all that are open.
type muteOptions struct {
	kind    backup.AlertKind
	subject string
	length  time.Duration
}

// muted is what `alerts mute --json` and `alerts unmute --json` print.
type muted struct {
	Tenant string         `json:"tenant"`
	Alerts []readapi.Mute `json:"alerts"`
}

func newAlertsMute(p *program) *cobra.Command {
	o := muteOptions{length: 4 * time.Hour}
	cmd := &cobra.Command{
		Use: "mute TENANT KIND", Short: "Do not tell of an open alert again for a while",
		Long: `An alert that somebody works on need not be told again and again. It stays open, it is listed and counted, and it is told again when the
time is over. A new alert of the same kind is not muted by it. The kinds are in holdfast alerts --json.`,
		Example: `  holdfast alerts mute acme not_connected --for 4h
  holdfast alerts mute acme task_waiting --subject directory --for 72h`,
		Args: takes(p, "TENANT", "KIND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.length <= 0 || o.length > readapi.MaxMute {
				return &usageError{fmt.Errorf("--for is a time from 1s to %s", readapi.MaxMute)}
			}
			o.kind = backup.AlertKind(args[1])
			return runMute(cmd.Context(), p, args[0], o, p.now().Add(o.length).UTC().Truncate(time.Second))
		},
	}
	cmd.Flags().DurationVar(&o.length, "for", o.length, "how long, 744h at most")
	cmd.Flags().StringVar(&o.subject, "subject", "", "only the alert about this (default: all open ones of the kind)")
	return cmd
}

func newAlertsUnmute(p *program) *cobra.Command {
	var o muteOptions
	cmd := &cobra.Command{
		Use: "unmute TENANT KIND", Short: "Tell of a muted alert again",
		Example: `  holdfast alerts unmute acme not_connected`,
		Args:    takes(p, "TENANT", "KIND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.kind = backup.AlertKind(args[1])
			return runMute(cmd.Context(), p, args[0], o, time.Time{})
		},
	}
	cmd.Flags().StringVar(&o.subject, "subject", "", "only the alert about this (default: all open ones of the kind)")
	return cmd
}

func runMute(ctx context.Context, p *program, tenant string, o muteOptions, until time.Time) error {
	return p.withReader(func(r reader) error {
		page, err := r.Alerts(ctx, tenant, false)
		if err != nil {
			return err
		}
		done := muted{Tenant: tenant, Alerts: []readapi.Mute{}}
		for _, a := range page.Alerts {
			if a.Kind != o.kind || o.subject != "" && a.Subject != o.subject {
				continue
			}
			m := readapi.Mute{Kind: a.Kind, Subject: a.Subject, Until: until}
			if err := r.MuteAlert(ctx, tenant, m); err != nil {
				return err
			}
			done.Alerts = append(done.Alerts, m)
		}
		if len(done.Alerts) == 0 {
			return noSuchAlert(tenant, o.kind, page.Alerts)
		}
		return p.sayMuted(done, until)
	})
}

// noSuchAlert names the kinds that are open, because a kind is easily mistyped.
func noSuchAlert(tenant string, kind backup.AlertKind, open []backup.Alert) error {
	var kinds []string
	for _, a := range open {
		if !slices.Contains(kinds, string(a.Kind)) {
			kinds = append(kinds, string(a.Kind))
		}
	}
	e := &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "no alert " + clean(string(kind)) + " of " + clean(tenant) + " is open", Hint: "holdfast alerts " + clean(tenant)}
	if len(kinds) > 0 {
		e.Cause = errors.New("open are " + clean(fmt.Sprint(kinds)))
	}
	return e
}

func (p *program) sayMuted(m muted, until time.Time) error {
	if p.json {
		return p.emit(m)
	}
	for _, a := range m.Alerts {
		if until.IsZero() {
			p.say("%s (%s) is told again.", a.Kind.Title(), clean(a.Subject))
			continue
		}
		p.say("%s (%s) is not told again before %s. It stays open.", a.Kind.Title(), clean(a.Subject), p.when(until))
		p.next("holdfast alerts unmute " + clean(m.Tenant) + " " + string(a.Kind))
	}
	return nil
}
