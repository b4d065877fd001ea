package backup

import "testing"

func TestCheckDecision(t *testing.T) {
	waiting := &Task{Name: TaskApp, State: Waiting, Actions: []Action{Retry, Waive, Abort}}
	removals := &Task{Name: TaskRemovals, State: Waiting, Actions: []Action{Approve, Reject}, Difference: "d1"}
	for name, c := range map[string]struct {
		task     *Task
		decision Decision
		want     Code
	}{
		"retry":                  {waiting, Decision{Action: Retry, By: "anna"}, ""},
		"waive with a reason":    {waiting, Decision{Action: Waive, By: "anna", Reason: "no drives yet"}, ""},
		"waive without a reason": {waiting, Decision{Action: Waive, By: "anna"}, CodeNotAllowed},
		"by nobody":              {waiting, Decision{Action: Retry}, CodeUnknownPrincipal},
		"another action":         {waiting, Decision{Action: Approve, By: "anna"}, CodeNotAllowed},
		"no action":              {waiting, Decision{By: "anna"}, CodeNotAllowed},
		"passing by now":         {&Task{Name: TaskApp, State: Passing, Actions: []Action{Retry}}, Decision{Action: Retry, By: "anna"}, CodeNotWaiting},
		"being retried":          {&Task{Name: TaskApp, State: Failing, Actions: []Action{Retry}}, Decision{Action: Retry, By: "anna"}, CodeNotWaiting},
		"of this difference":     {removals, Decision{Action: Approve, By: "anna", Difference: "d1"}, ""},
		"of another difference":  {removals, Decision{Action: Approve, By: "anna", Difference: "d0"}, CodeDifferenceChanged},
		"of no difference":       {removals, Decision{Action: Approve, By: "anna"}, CodeDifferenceChanged},
		"whatever it is: no":     {removals, Decision{Action: Reject, By: "anna"}, ""},
		"no such task":           {nil, Decision{Task: "x", Action: Retry, By: "anna"}, CodeNotWaiting},
	} {
		check(t, name, c.task.CheckDecision(c.decision), c.want)
	}
}

func TestAuthorize(t *testing.T) {
	tenant := Tenant{ID: "acme", Administrators: []Principal{{"cloud", CloudAdmin}, {"saas", SaaSAdmin}, {"approver", Approver}, {"viewer", Viewer}}}
	for name, c := range map[string]struct {
		by, requestedBy string
		action          Action
		want            Code
	}{
		"a cloud-admin retries":          {by: "cloud", action: Retry},
		"a saas-admin waives":            {by: "saas", action: Waive},
		"an approver approves":           {by: "approver", action: Approve},
		"an approver rejects":            {by: "approver", action: Reject},
		"an approver does not retry":     {by: "approver", action: Retry, want: CodeNotAllowed},
		"an approver does not abort":     {by: "approver", action: Abort, want: CodeNotAllowed},
		"a viewer decides nothing":       {by: "viewer", action: Approve, want: CodeNotAllowed},
		"somebody unknown":               {by: "mallory", action: Approve, want: CodeUnknownPrincipal},
		"nobody":                         {action: Retry, want: CodeUnknownPrincipal},
		"nobody approves his own wish":   {by: "cloud", requestedBy: "cloud", action: Approve, want: CodeNotAllowed},
		"but may withdraw it":            {by: "cloud", requestedBy: "cloud", action: Reject},
		"a second person approves":       {by: "saas", requestedBy: "cloud", action: Approve},
		"a name's case is not forgotten": {by: "Cloud", action: Retry, want: CodeUnknownPrincipal},
	} {
		check(t, name, Authorize(tenant, Task{RequestedBy: c.requestedBy}, Decision{Action: c.action, By: c.by}), c.want)
	}
}

func TestCheckAdministrator(t *testing.T) {
	tenant := Tenant{ID: "acme", Administrators: []Principal{{"cloud", CloudAdmin}, {"saas", SaaSAdmin}, {"approver", Approver}}}
	for by, want := range map[string]Code{"cloud": "", "saas": "", "approver": CodeMissingRole, "mallory": CodeUnknownPrincipal} {
		if v := CheckAdministrator(tenant, by); v.Code != want || v.Passing != (want == "") || !v.Passing && v.Hint == "" {
			t.Errorf("%s: %+v, want %q", by, v, want)
		}
	}
}

func check(t *testing.T, name string, err error, want Code) {
	t.Helper()
	if want == "" && err != nil || want != "" && !HasCode(err, want) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}
