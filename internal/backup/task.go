package backup

import (
	"slices"
	"time"
)

// PrerequisiteState is where a prerequisite stands.
type PrerequisiteState string

const (
	Pending PrerequisiteState = "pending" // not looked at yet
	Passing PrerequisiteState = "passing"
	Failing PrerequisiteState = "failing" // being retried
	Waiting PrerequisiteState = "waiting" // for a person or for the world to change
	Waived  PrerequisiteState = "waived"
	Failed  PrerequisiteState = "failed" // given up: rejected, aborted, or past its deadline
)

// Names of prerequisites and approvals; they are what a person types after `holdfast retry acme`.
const (
	TaskAdministrator = "administrator"
	TaskKey           = "key"
	TaskApp           = "app-permissions"
	TaskDirectory     = "directory"
	TaskPeople        = "people"
	TaskRemovals      = "removals"
	TaskFirstBackup   = "schedule"

	// Of people.
	TaskFirstImport = "first-import" // approval: the first import of a directory
	TaskConflicts   = "conflicts"    // entries that may be one of several people
	TaskDeletions   = "deletions"    // approval: the data of people who left long ago may be deleted

	// Of key custody.
	TaskNewKey    = "new-key"    // the next generation can be made and had
	TaskHolders   = "holders"    // every connector holds it
	TaskRewrap    = "rewrap"     // the repository opens with it
	TaskKeyChange = "key-change" // approval: rotate or switch
	TaskRetire    = "retire"     // the old generation is gone
	TaskConnector = "connector"  // approval: a second connector gets the ekey
	TaskShred     = "shred"      // approval of the first person
	TaskShredToo  = "shred-too"  // approval of a second one
	TaskShredWait = "shred-wait" // the time in which a shredding can be called off
	TaskDestroy   = "destroy"    // every holder has destroyed it
	TaskProof     = "proof"      // nothing opens with it any more, and the report is signed
)

// Action is what a person decides about a task.
type Action string

const (
	Approve Action = "approve"
	Reject  Action = "reject"
	Retry   Action = "retry"
	Waive   Action = "waive"
	Abort   Action = "abort"
)

// Decision is a person's word on a task. It arrives as an update or as a signal.
type Decision struct {
	Task   string `json:"task"`
	Action Action `json:"action"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
	// Difference is the digest of what an approval is for, where the task has one.
	Difference string `json:"difference,omitempty"`
}

// Verdict is the outcome of a prerequisite's check. A check that could not be made is an error instead.
type Verdict struct {
	Passing bool   `json:"passing"`
	Code    Code   `json:"code,omitempty"`
	Fault   Fault  `json:"fault,omitempty"`
	Detail  string `json:"detail,omitempty"` // what was found
	Hint    string `json:"hint,omitempty"`   // what to do next
}

// VerdictOf turns a classified error into a failing verdict; nil into a passing one.
func VerdictOf(err error, detail string) Verdict {
	if err == nil {
		return Verdict{Passing: true, Detail: detail}
	}
	e := AsError(err)
	return Verdict{Code: e.Code, Fault: e.Fault, Detail: e.Error(), Hint: e.Hint}
}

// Task is a prerequisite or an approval as the inbox shows it.
type Task struct {
	Name    string            `json:"name"`
	Title   string            `json:"title"`
	State   PrerequisiteState `json:"state"`
	Code    Code              `json:"code,omitempty"`
	Detail  string            `json:"detail,omitempty"`
	Hint    string            `json:"hint,omitempty"`
	Actions []Action          `json:"actions,omitempty"` // that may be taken now
	// RequestedBy started what waits; he may not approve it.
	RequestedBy string    `json:"requestedBy,omitempty"`
	Since       time.Time `json:"since,omitzero"`
	Deadline    time.Time `json:"deadline,omitzero"`
	NextCheck   time.Time `json:"nextCheck,omitzero"`
	Reminders   int       `json:"reminders,omitempty"`
	DecidedBy   string    `json:"decidedBy,omitempty"`
	// Difference is the digest of what an approval of this task is for. An approval says it again, so that nobody approves what he has not seen.
	Difference string `json:"difference,omitempty"`
	// Workflow is the id of the workflow that the task belongs to: a checklist may mirror a child's task.
	Workflow string `json:"workflow,omitempty"`
}

// CheckDecision decides whether d may be taken on t now. It only reads, so an update validator may call it.
// Whether d.By is known and holds a role is for Authorize, which needs the tenant.
func (t *Task) CheckDecision(d Decision) error {
	switch {
	case t == nil || t.State != Waiting:
		return &Error{Code: CodeNotWaiting, Fault: FaultCustomer, Message: "the task " + d.Task + " does not wait for a decision", Hint: "holdfast inbox"}
	case d.By == "":
		return &Error{Code: CodeUnknownPrincipal, Fault: FaultCustomer, Message: "the decision does not say who made it", Hint: "set by, for example --by anna@acme.example"}
	case !slices.Contains(t.Actions, d.Action):
		return &Error{Code: CodeNotAllowed, Fault: FaultCustomer, Message: "the task " + t.Name + " does not take the action " + string(d.Action), Hint: "holdfast inbox shows the actions of every task"}
	case d.Action == Waive && d.Reason == "":
		return &Error{Code: CodeNotAllowed, Fault: FaultCustomer, Message: "waiving needs a reason", Hint: "--reason \"...\""}
	case d.Action == Approve && d.Difference != t.Difference:
		return t.otherDifference(d)
	}
	return nil
}

// otherDifference refuses an approval of something else than what waits.
func (t *Task) otherDifference(d Decision) error {
	message := "what waits is not what was approved: it has changed"
	if d.Difference == "" {
		message = "an approval of " + t.Name + " says which difference it approves"
	}
	return &Error{Code: CodeDifferenceChanged, Fault: FaultCustomer, Message: message,
		Hint: "look at holdfast inbox again; the difference that waits is " + t.Difference}
}

// Authorize decides whether the decider is known to the tenant and may take the action on the task.
func Authorize(t Tenant, task Task, d Decision) error {
	i := slices.IndexFunc(t.Administrators, func(p Principal) bool { return p.Name == d.By })
	if i < 0 {
		return &Error{Code: CodeUnknownPrincipal, Fault: FaultCustomer, Message: d.By + " is not known to the tenant " + t.ID, Hint: "add the person under administrators in the tenant's file and apply it"}
	}
	role := t.Administrators[i].Role
	allowed := role == CloudAdmin || role == SaaSAdmin || (role == Approver && (d.Action == Approve || d.Action == Reject))
	if !allowed {
		return &Error{Code: CodeNotAllowed, Fault: FaultCustomer, Message: d.By + " is a " + string(role) + " and may not " + string(d.Action), Hint: "ask a cloud-admin"}
	}
	if d.Action == Approve && task.RequestedBy == d.By {
		return &Error{Code: CodeNotAllowed, Fault: FaultCustomer, Message: d.By + " asked for this and cannot approve it", Hint: "a second person must"}
	}
	return nil
}

// CheckAdministrator is the first prerequisite: whoever asks for backups must be an administrator of the tenant.
func CheckAdministrator(t Tenant, by string) Verdict {
	for _, p := range t.Administrators {
		if p.Name == by && (p.Role == CloudAdmin || p.Role == SaaSAdmin) {
			return Verdict{Passing: true, Detail: by + " is " + string(p.Role)}
		}
		if p.Name == by {
			return Verdict{Code: CodeMissingRole, Fault: FaultCustomer, Detail: by + " is " + string(p.Role) + ", which may not ask for this", Hint: "let a cloud-admin or saas-admin do it, or change the role under administrators"}
		}
	}
	return Verdict{Code: CodeUnknownPrincipal, Fault: FaultCustomer, Detail: by + " is not an administrator of " + t.ID, Hint: "add " + by + " under administrators with the role cloud-admin or saas-admin and apply the file again"}
}
