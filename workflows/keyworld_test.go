package workflows

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// vault is the part of the world that has to do with keys: generations, the one that the repository opens with, and an enrolment.
type vault struct {
	plan    activities.KeyPlanResult
	states  map[int]backup.EKeyState
	opens   int // the generation that the repository opens with
	holders []backup.KeyProof
	proofs  []backup.KeyProof // of a drill

	enrolment     backup.Enrolment
	open, pinned  bool
	shared        []activities.ShareKeyInput
	prepared      []activities.KeyChangeInput
	shredReported *backup.ShredReport
	// meddle stands between an activity and what it does, by the activity's name: a verdict that does not pass, or an error, is
	// returned instead of it.
	meddle map[string]func() (backup.Verdict, error)
	// lost are activities that do what they should, and whose answer is lost then.
	lost map[string]bool
}

func newVault() vault {
	return vault{
		plan: activities.KeyPlanResult{Active: backup.EKey{Tenant: "acme", Generation: 1, Method: backup.KeyByConnector, State: backup.EKeyActive},
			Method: backup.KeyByConnector, Grace: 7 * day1, ShredWait: 3 * day1, WaitAtMost: 12 * time.Hour, Connectors: 1, KMS: true},
		states: map[int]backup.EKeyState{1: backup.EKeyActive}, opens: 1,
		holders: []backup.KeyProof{{Holder: "connector hq", Generation: 1, OK: true}, {Holder: "connector lab", Generation: 1, OK: true}},
		proofs:  []backup.KeyProof{{Holder: "connector hq", Generation: 1, OK: true}, {Holder: "connector lab", Generation: 1, OK: true}},
		meddle:  map[string]func() (backup.Verdict, error){}, lost: map[string]bool{},
	}
}

var errLost = asActivity(&backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "the worker was killed"})

// act is one activity on the keys.
func (w *world) act(name string, do func(v *vault)) (backup.Verdict, error) {
	w.called(name)
	w.mu.Lock()
	meddle := w.keys.meddle[name]
	w.mu.Unlock()
	if meddle != nil {
		if v, err := meddle(); err != nil || !v.Passing {
			return v, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	do(&w.keys)
	if w.keys.lost[name] {
		return backup.Verdict{}, errLost
	}
	return passing, nil
}

// newest is the number of the newest generation.
func (v *vault) newest() (n int) {
	for i := range v.states {
		n = max(n, i)
	}
	return n
}

func (w *world) registerKeys(r worker.ActivityRegistry) {
	for name, f := range w.tokenActivities() {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	for name, f := range map[string]any{
		"PlanKey": func(context.Context, activities.TenantInput) (plan activities.KeyPlanResult, err error) {
			_, err = w.act("PlanKey", func(v *vault) { plan = v.plan })
			return plan, err
		},
		"PrepareKey": func(_ context.Context, in activities.KeyChangeInput) (result activities.KeyChangeResult, err error) {
			result.Verdict, err = w.act("PrepareKey", func(v *vault) {
				v.prepared = append(v.prepared, in)
				n := v.newest()
				if v.states[n] != backup.EKeyPending {
					n++
					v.states[n] = backup.EKeyPending
				}
				result = activities.KeyChangeResult{From: v.plan.Active.Generation, To: n, Method: in.Method}
			})
			return result, err
		},
		"ShareKey": func(_ context.Context, in activities.ShareKeyInput) (backup.Verdict, error) {
			return w.act("ShareKey", func(v *vault) { v.shared = append(v.shared, in) })
		},
		"RewrapRepository": func(_ context.Context, in activities.RewrapInput) (result activities.RewrapResult, err error) {
			result.Verdict, err = w.act("RewrapRepository", func(v *vault) {
				v.states[in.From], v.states[in.To] = backup.EKeyRetiring, backup.EKeyActive
				v.opens, v.plan.Active.Generation, v.plan.Active.Method = in.To, in.To, v.prepared[0].Method
				result.RetireAfter = w.now().Add(v.plan.Grace)
			})
			return result, err
		},
		"RetireKey": func(_ context.Context, in activities.GenerationInput) (backup.Verdict, error) {
			return w.act("RetireKey", func(v *vault) { v.states[in.Generation] = backup.EKeyRetired })
		},
		"DropKey": func(_ context.Context, in activities.RewrapInput) (backup.Verdict, error) {
			w.mu.Lock()
			inUse := in.To != 0 && w.keys.opens == in.To
			w.mu.Unlock()
			if inUse {
				w.called("DropKey")
				return backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Detail: "it is in use already"}, nil
			}
			return w.act("DropKey", func(v *vault) {
				if n := v.newest(); v.states[n] == backup.EKeyPending {
					v.states[n] = backup.EKeyRetired
				}
			})
		},
		"RewrapKey": func(context.Context, activities.TenantInput) (backup.Verdict, error) {
			return w.act("RewrapKey", func(*vault) {})
		},
		"DrillKey": func(context.Context, activities.TenantInput) (drill backup.KeyDrill, err error) {
			_, err = w.act("DrillKey", func(v *vault) {
				drill = backup.KeyDrill{Tenant: "acme", Generation: 1, OK: true, Proofs: v.proofs}
				for _, p := range v.proofs {
					drill.OK = drill.OK && p.OK
				}
			})
			return drill, err
		},
		"DestroyKey": func(context.Context, activities.TenantInput) (result activities.DestroyResult, err error) {
			result.Verdict, err = w.act("DestroyKey", func(v *vault) { result.Holders = v.holders })
			for _, p := range result.Holders {
				if !p.OK {
					result.Verdict = backup.Verdict{Code: p.Code, Fault: backup.FaultCustomer, Detail: p.Holder + ": " + p.Detail}
				}
			}
			return result, err
		},
		"ProveShred": func(_ context.Context, in activities.ShredProofInput) (result activities.ShredProofResult, err error) {
			result.Verdict, err = w.act("ProveShred", func(v *vault) {
				result.Report = in.Report
				result.Report.Signature = []byte("signed")
				v.shredReported = &result.Report
			})
			return result, err
		},
		"OpenEnrolment": func(_ context.Context, in activities.EnrolInput) error {
			_, err := w.act("OpenEnrolment", func(v *vault) {
				v.open, v.enrolment = true, backup.Enrolment{Tenant: in.Tenant, Connector: in.Connector, SecretHash: in.SecretHash, Expires: in.Expires}
			})
			return err
		},
		"ReadEnrolment": func(context.Context, activities.EnrolmentInput) (e backup.Enrolment, err error) {
			_, err = w.act("ReadEnrolment", func(v *vault) { e = v.enrolment })
			return e, err
		},
		"PinConnector": func(context.Context, activities.EnrolmentInput) error {
			_, err := w.act("PinConnector", func(v *vault) { v.pinned = true })
			return err
		},
		"RemoveConnector": func(context.Context, activities.EnrolmentInput) (removed activities.RemovedConnector, err error) {
			v, err := w.act("RemoveConnector", func(v *vault) { v.pinned, removed.Identity = false, v.enrolment.Identity })
			if err == nil && !v.Passing {
				err = asActivity(&backup.Error{Code: v.Code, Fault: v.Fault, Message: v.Detail, Hint: v.Hint})
			}
			return removed, err
		},
		"CloseEnrolment": func(context.Context, activities.EnrolmentInput) error {
			_, err := w.act("CloseEnrolment", func(v *vault) { v.open = false })
			return err
		},
	} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// present uses the enrolment's token.
func (w *world) present(identity string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys.enrolment.Presented, w.keys.enrolment.Identity = w.now(), identity
}

// away makes an activity say v until back is called.
func (w *world) away(activity string, v backup.Verdict) (back func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gone := true
	w.keys.meddle[activity] = func() (backup.Verdict, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if gone {
			return v, nil
		}
		return passing, nil
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		gone = false
	}
}

// generations says where each generation stands, and which one opens the repository.
func (w *world) generations() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := ""
	for n := 1; n <= w.keys.newest(); n++ {
		text += fmt.Sprintf("%d %s, ", n, w.keys.states[n])
	}
	return text + fmt.Sprint("opens with ", w.keys.opens)
}
