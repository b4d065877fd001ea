package workflows

import (
	"errors"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// errContinue asks the workflow to continue as new: its history has grown, and it is at a point where all it knows is on its board.
var errContinue = errors.New("continue as new")

// maxFollowers bounds what a follow signal may cost; a tenant has a handful of apps.
const maxFollowers = 20

// board is the checklist of one workflow: its tasks in order, and everything that people and other workflows may say to them.
// Decisions come as an update or as a signal and meet in decide. A decision changes the task at once; the gate that waits for
// the task sees it there, so no decision is ever on its way while a workflow ends or continues as new.
type board struct {
	speaker
	// scope tells the alerts of two workflows of one tenant apart (an app); empty for what a tenant has only one of.
	scope   string
	heading string
	// proposed is the description that says who may decide as long as none is stored; nil when the tenant must be.
	proposed *backup.Tenant
	// again says how to ask once more, for a workflow that is a request: one that was turned down leaves nothing to mend. Empty for
	// workflows that bring something about, whose alert stays open until they have.
	again string
	// objects refuses a decision for a reason that only this workflow knows; nil when there is none. It only reads.
	objects func(*backup.Task, backup.Decision) error
	// parks: nobody tells this workflow that a connector came unless it asks for it.
	parks     bool
	self      string // this workflow's id
	tasks     []*backup.Task
	followers []string
	stage     string
	// nudged: somebody asked to look again, or something happened that makes it worth while.
	nudged bool
	// child is the workflow whose reports are taken into the checklist; empty when none is expected. heard counts them, and
	// ended is the last one that settled its task.
	child string
	heard int
	ended *backup.Task
	// deciding counts decisions that came as signals and are being looked at.
	deciding int
	// decisions are the channels that these signals come by.
	decisions []workflow.ReceiveChannel
	shown     exhibit
}

// exhibit is what the outside was last told, so that it is told only of changes: each costs an event.
type exhibit struct {
	stage    string
	awaiting []string
	mirrored map[string]standing
}

// standing is what followers are told of a task.
type standing struct {
	state      backup.PrerequisiteState
	code       backup.Code
	detail     string
	difference string
}

func standingOf(t *backup.Task) standing { return standing{t.State, t.Code, t.Detail, t.Difference} }

// openBoard makes the checklist, or takes up what an earlier run of the workflow left, and listens.
func openBoard(ctx workflow.Context, b *board, names []string, resume *TaskBoard) (*board, error) {
	b.self = workflow.GetInfo(ctx).WorkflowExecution.ID
	b.shown.mirrored = map[string]standing{}
	attributes := workflow.GetTypedSearchAttributes(ctx)
	b.shown.stage, _ = attributes.GetKeyword(StageAttribute)
	b.shown.awaiting, _ = attributes.GetKeywordList(AwaitingAttribute)
	b.stage = b.shown.stage
	if resume != nil {
		for _, t := range resume.Tasks {
			b.tasks = append(b.tasks, &t)
			b.shown.mirrored[t.Name] = standingOf(&t)
		}
		b.followers = resume.Followers // they know how things stood
	}
	for _, name := range names {
		b.need(name)
	}
	return b, b.listen(ctx)
}

// listen registers every handler before the workflow first blocks, so that nothing sent to it is refused as unknown.
func (b *board) listen(ctx workflow.Context) error {
	err := workflow.SetQueryHandlerWithOptions(ctx, TasksQuery, b.list, workflow.QueryHandlerOptions{
		Description: "The checklist: every prerequisite and approval, in order."})
	if err != nil {
		return err
	}
	err = workflow.SetUpdateHandlerWithOptions(ctx, DecideUpdate, b.decide, workflow.UpdateHandlerOptions{
		Validator:   func(_ workflow.Context, d backup.Decision) error { return b.check(d) },
		Description: `Decide on a task that waits: {"task":"key","action":"retry","by":"anna@acme.example","reason":""}`})
	if err != nil {
		return err
	}
	decisions := workflow.GetSignalChannelWithOptions(ctx, DecideSignal, workflow.SignalChannelOptions{
		Description: "The same as the update, for those who cannot wait for an answer; a refusal raises an alert."})
	rechecks := workflow.GetSignalChannelWithOptions(ctx, RecheckSignal, workflow.SignalChannelOptions{
		Description: "Look again now at what waits, for example because a connector came back."})
	children := workflow.GetSignalChannelWithOptions(ctx, ChildTaskSignal, workflow.SignalChannelOptions{
		Description: "Sent by child workflows: how their task stands."})
	followers := workflow.GetSignalChannelWithOptions(ctx, FollowSignal, workflow.SignalChannelOptions{
		Description: "Sent by workflows that wait for this one, too."})

	b.decisions = append(b.decisions, decisions)
	receive(ctx, "decisions", decisions, b.decideBySignal)
	receive(ctx, "rechecks", rechecks, func(_ workflow.Context, _ string) { b.nudged = true })
	receive(ctx, "children", children, b.mirror)
	receive(ctx, "followers", followers, func(ctx workflow.Context, id string) {
		if id != "" {
			b.follow(id)
			b.publish(ctx)
		}
	})
	return nil
}

// receive handles the signals of one channel in order, for as long as the workflow runs.
func receive[T any](ctx workflow.Context, name string, channel workflow.ReceiveChannel, handle func(workflow.Context, T)) {
	workflow.GoNamed(ctx, name, func(ctx workflow.Context) {
		for {
			var message T
			channel.Receive(ctx, &message)
			handle(ctx, message)
		}
	})
}

// list answers the query.
func (b *board) list() ([]backup.Task, error) {
	list := make([]backup.Task, 0, len(b.tasks))
	for _, t := range b.tasks {
		list = append(list, *t)
	}
	return list, nil
}

// task finds a task by name; nil when there is none.
func (b *board) task(name string) *backup.Task {
	if i := slices.IndexFunc(b.tasks, func(t *backup.Task) bool { return t.Name == name }); i >= 0 {
		return b.tasks[i]
	}
	return nil
}

// need finds a task by name and adds it at the end when there is none.
func (b *board) need(name string) *backup.Task {
	if t := b.task(name); t != nil {
		return t
	}
	t := &backup.Task{Name: name, Title: taskTitle(name), State: backup.Pending, Workflow: b.self}
	b.tasks = append(b.tasks, t)
	return t
}

// settled tells whether a task is over, one way or the other.
func settled(s backup.PrerequisiteState) bool {
	return s == backup.Passing || s == backup.Waived || s == backup.Failed
}

// own tells whether this workflow itself waits with the task, and not a child.
func (b *board) own(t *backup.Task) bool { return t.Workflow == b.self }

// follow adds a workflow that hears of the tasks; all of them are news to it. One that asks again has missed something.
func (b *board) follow(id string) {
	if !slices.Contains(b.followers, id) && len(b.followers) < maxFollowers {
		b.followers = append(b.followers, id)
	}
	clear(b.shown.mirrored)
}

// lead makes the workflow that started this one the first follower.
func (b *board) lead(parent string) {
	if parent != "" && !slices.Contains(b.followers, parent) {
		b.follow(parent)
	}
}

// publish shows the outside how things stand, as far as it changed: the list's search attributes, the workflow page's current
// details, and the checklists of the workflows that follow.
func (b *board) publish(ctx workflow.Context) {
	var awaiting []string
	for _, t := range b.tasks {
		if b.own(t) && t.State == backup.Waiting {
			awaiting = append(awaiting, t.Name)
		}
	}
	var updates []temporal.SearchAttributeUpdate
	if b.stage != b.shown.stage {
		updates = append(updates, StageAttribute.ValueSet(b.stage))
	}
	switch {
	case slices.Equal(awaiting, b.shown.awaiting):
	case len(awaiting) == 0:
		updates = append(updates, AwaitingAttribute.ValueUnset())
	default:
		updates = append(updates, AwaitingAttribute.ValueSet(awaiting))
	}
	if len(updates) > 0 {
		if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
			workflow.GetLogger(ctx).Warn("cannot set search attributes", "error", err)
		}
	}
	b.shown.stage, b.shown.awaiting = b.stage, awaiting
	workflow.SetCurrentDetails(ctx, b.markdown())
	b.report(ctx)
}

// report tells the followers of own tasks that changed in a way that a person would notice. When the next look will be, or how often
// somebody was reminded, is not such a change: it would cost both histories events every day. Nobody waits for these signals to arrive: a follower that is gone needs none, and one that missed some asks again.
func (b *board) report(ctx workflow.Context) {
	if len(b.followers) == 0 {
		return
	}
	for _, t := range b.tasks {
		if !b.own(t) || t.State == backup.Pending {
			continue
		}
		news := standingOf(t)
		if b.shown.mirrored[t.Name] == news {
			continue
		}
		b.shown.mirrored[t.Name] = news
		for _, id := range b.followers {
			workflow.SignalExternalWorkflow(ctx, id, "", ChildTaskSignal, *t)
		}
	}
}

// mirror takes a child's report into the checklist, behind the step that started the child unless it has a line already. A report
// from anybody else, or about a task of this workflow's own, changes nothing.
func (b *board) mirror(ctx workflow.Context, report backup.Task) {
	known := b.task(report.Name)
	if b.child == "" || report.Workflow != b.child || known != nil && b.own(known) {
		return
	}
	b.heard++
	if settled(report.State) {
		b.ended = &report
	}
	if known != nil {
		*known = report
	} else {
		at := slices.IndexFunc(b.tasks, func(t *backup.Task) bool { return t.Name == b.stage }) + 1
		b.tasks = slices.Insert(b.tasks, at, &report)
	}
	b.publish(ctx)
}

// close ends the workflow's conversations: whoever sent an update gets its answer, and a workflow that was cancelled takes
// back what it asked of people. The last stage is shown only where stages were: a scheduled import that nobody had to attend
// to should not cost an event for it.
func (b *board) close(ctx workflow.Context, err error) {
	last := "done"
	switch {
	case err != nil && ctx.Err() != nil:
		ctx, _ = workflow.NewDisconnectedContext(ctx)
		b.withdraw(ctx)
		last = "cancelled"
	case err != nil:
		last = "failed"
	default:
		b.settle(ctx)
	}
	if b.stage != "" {
		b.stage = last
	}
	b.publish(ctx)
	_ = b.quiet(ctx)
}

// quiet returns when nobody is in the middle of a decision. A signal that has just been handed to its coroutine shows nowhere
// until that coroutine ran, so everybody gets a turn before the first answer counts.
func (b *board) quiet(ctx workflow.Context) error {
	turns := 0
	return workflow.Await(ctx, func() bool {
		turns++
		return turns > 1 && workflow.AllHandlersFinished(ctx) && b.deciding == 0 &&
			!slices.ContainsFunc(b.decisions, func(c workflow.ReceiveChannel) bool { return c.Len() > 0 })
	})
}

// withdraw takes back the tasks that wait, and their alerts.
func (b *board) withdraw(ctx workflow.Context) {
	for _, t := range b.tasks {
		if b.own(t) && t.State == backup.Waiting {
			b.end(t, backup.Failed, "cancelled with its workflow")
			kind, subject := b.alertOf(t)
			b.resolve(ctx, kind, subject)
		}
	}
}

// settle resolves what an earlier workflow, which gave up one of these tasks, left open: now they are done. It costs a call each, but
// only once, at the good end.
func (b *board) settle(ctx workflow.Context) {
	for _, t := range b.tasks {
		if !b.own(t) {
			continue
		}
		kind, subject := b.alertOf(t)
		b.resolve(ctx, kind, subject)
		if t.Name == backup.TaskKey {
			b.resolve(ctx, backup.AlertNotConnected, backup.TaskKey)
			b.resolve(ctx, backup.AlertKeyUnavailable, backup.TaskKey)
		}
	}
}

// carry waits until nobody is in the middle of a decision and gives what the next run of the workflow needs to know.
func (b *board) carry(ctx workflow.Context) (*TaskBoard, error) {
	err := b.quiet(ctx)
	tasks, _ := b.list()
	return &TaskBoard{Tasks: tasks, Followers: b.followers}, err
}

// end gives a task its last state.
func (b *board) end(t *backup.Task, state backup.PrerequisiteState, detail string) {
	t.State, t.Detail = state, detail
	t.Hint, t.Actions, t.NextCheck, t.Deadline = "", nil, time.Time{}, time.Time{}
}

func taskTitle(name string) string {
	switch name {
	case backup.TaskAdministrator:
		return "You may administer this tenant"
	case backup.TaskKey:
		return "The encryption key can be had"
	case backup.TaskApp:
		return "The SaaS app grants what backups need"
	case backup.TaskDirectory:
		return "The directory can be read"
	case backup.TaskPeople:
		return "People are imported"
	case backup.TaskRemovals:
		return "Many people would be removed"
	case backup.TaskFirstImport:
		return "The first import of a directory is to be approved"
	case backup.TaskConflicts:
		return "Some entries may be one of several people"
	case backup.TaskDeletions:
		return "The data of people who left may be deleted"
	case backup.TaskFirstBackup:
		return "Backups are scheduled and the first has started"
	case backup.TaskKeyChange:
		return "The encryption key is to be changed"
	case backup.TaskNewKey:
		return "The next generation of the key can be made and had"
	case backup.TaskHolders:
		return "Every connector holds the key"
	case backup.TaskRewrap:
		return "The repository opens with the new key"
	case backup.TaskRetire:
		return "The replaced key can no longer be had"
	case backup.TaskConnector:
		return "Another connector is to hold the key"
	case backup.TaskShred:
		return "The key is to be destroyed for ever"
	case backup.TaskShredToo:
		return "A second person agrees to the destruction"
	case backup.TaskShredWait:
		return "The destruction can still be called off"
	case backup.TaskDestroy:
		return "Every holder has destroyed the key"
	case backup.TaskProof:
		return "Nothing opens any more, and the report is signed"
	}
	return name
}
