package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Activity options, named by the kind of call. A time-out of one attempt is also what a killed worker costs, so it is as short
// as the work allows. Every budget is bounded: when it is used up a task waits for a person, or the run says that it failed.
var (
	// bookkeeping writes a few rows to our own store. The store may be away for an hour and more without anybody losing
	// anything, so the budget is a day; attempts come at most a minute apart, so work goes on soon after it is back.
	bookkeeping = workflow.ActivityOptions{
		StartToCloseTimeout:    15 * time.Second,
		ScheduleToCloseTimeout: 24 * time.Hour,
		RetryPolicy:            backoff(time.Second, time.Minute, 0),
	}
	// telling raises and resolves alerts. It tells people, too, which takes longer than a row; a workflow that cannot tell
	// anybody goes on with its work after two hours, because the alert is the lesser part of it.
	telling = workflow.ActivityOptions{
		StartToCloseTimeout:    30 * time.Second,
		ScheduleToCloseTimeout: 2 * time.Hour,
		RetryPolicy:            backoff(time.Second, time.Minute, 0),
	}
	// answering is done while a person waits for the answer to a decision.
	answering = workflow.ActivityOptions{
		StartToCloseTimeout:    10 * time.Second,
		ScheduleToCloseTimeout: 30 * time.Second,
		RetryPolicy:            backoff(500*time.Millisecond, 5*time.Second, 0),
		Priority:               forPerson,
	}
	// observing looks at what we know ourselves (is a connector connected). Three attempts bridge a restart of the store;
	// after that the gate's own distances take over.
	observing = workflow.ActivityOptions{
		StartToCloseTimeout: 15 * time.Second,
		RetryPolicy:         backoff(time.Second, 10*time.Second, 3),
	}
	// probing makes a few calls to a system of the customer. Four attempts within about a minute tell a hiccup from an
	// outage; a person is asked after that, and the gate keeps looking by itself.
	probing = workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         backoff(2*time.Second, 30*time.Second, 4),
	}
	// provisioning asks a holder for the ekey and makes or opens the repository. A connector polls for up to half a minute.
	provisioning = workflow.ActivityOptions{
		StartToCloseTimeout: 2 * time.Minute,
		RetryPolicy:         backoff(2*time.Second, 30*time.Second, 4),
	}
	// keeping works on generations of a key with their holders. It bounds itself to three minutes and beats every few seconds, so a
	// killed worker is noticed soon; a gate goes on after it.
	keeping = workflow.ActivityOptions{
		StartToCloseTimeout: 4 * time.Minute,
		HeartbeatTimeout:    30 * time.Second,
		RetryPolicy:         backoff(2*time.Second, 30*time.Second, 4),
	}
	// undoing gives up a generation of the key that is not in use. It outlasts a store that is away, because nobody can do it by hand.
	undoing = workflow.ActivityOptions{
		StartToCloseTimeout:    4 * time.Minute,
		HeartbeatTimeout:       30 * time.Second,
		ScheduleToCloseTimeout: 24 * time.Hour,
		RetryPolicy:            backoff(2*time.Second, time.Minute, 0),
	}
	// listing reads a whole directory. A heartbeat comes with every page, and no directory takes a minute for one. Every
	// attempt lists from the start; six of them stretch over some ten minutes, and the next import is scheduled anyway.
	listing = workflow.ActivityOptions{
		StartToCloseTimeout: 6 * time.Hour,
		HeartbeatTimeout:    time.Minute,
		RetryPolicy:         backoff(5*time.Second, 5*time.Minute, 6),
	}
	// outlasting goes on with a read that listing could not end, where no person waits for it: a directory that is away or asks for patience
	// is waited for through a night. The pass is the same, so what was read already need not be read again.
	outlasting = workflow.ActivityOptions{
		StartToCloseTimeout: 6 * time.Hour,
		HeartbeatTimeout:    time.Minute,
		RetryPolicy:         backoff(5*time.Minute, 30*time.Minute, 24),
	}
	// comparing works on all staged rows of an import in set operations: 100,000 rows take seconds. Like bookkeeping it
	// outlasts a store that is away.
	comparing = workflow.ActivityOptions{
		StartToCloseTimeout:    2 * time.Minute,
		ScheduleToCloseTimeout: 24 * time.Hour,
		RetryPolicy:            backoff(time.Second, time.Minute, 0),
	}
	// sharding backs up one shard. It beats every few seconds, so a killed worker is noticed within half a minute; what is
	// done stands in the store, so an attempt repeats little. Forty attempts at most five minutes apart outlast three hours
	// of outage. A first full backup of 250 large mailboxes may take days.
	sharding = workflow.ActivityOptions{
		StartToCloseTimeout: 7 * 24 * time.Hour,
		HeartbeatTimeout:    30 * time.Second,
		WaitForCancellation: true, // the repository is closed in order before the run is called off
		RetryPolicy:         backoff(5*time.Second, 5*time.Minute, 40),
		Priority:            forNight,
	}
	// restoring writes one snapshot into a folder. A person waits, so it gives up earlier than a backup; files that stand
	// there already with the same content are kept, so an attempt repeats little.
	restoring = workflow.ActivityOptions{
		StartToCloseTimeout: 24 * time.Hour,
		HeartbeatTimeout:    30 * time.Second,
		WaitForCancellation: true,
		RetryPolicy:         backoff(2*time.Second, time.Minute, 10),
		Priority:            forPerson,
	}
	// asking answers `holdfast check`: one attempt, because the answer is wanted as it is now.
	asking = workflow.ActivityOptions{
		StartToCloseTimeout: 2 * time.Minute,
		RetryPolicy:         backoff(time.Second, time.Second, 1),
		Priority:            forPerson,
	}
)

// Priorities of activities within a task queue, 1 first; the server's default is 3. A person who waits comes before the night's work.
var (
	forPerson = temporal.Priority{PriorityKey: 2}
	forNight  = temporal.Priority{PriorityKey: 4}
)

func backoff(first, last time.Duration, attempts int32) *temporal.RetryPolicy {
	return &temporal.RetryPolicy{InitialInterval: first, BackoffCoefficient: 2, MaximumInterval: last, MaximumAttempts: attempts}
}

// calling prepares ctx for an activity: its kind of call, whose it is (tenants share the queue fairly), and what the Web UI
// shows beside it.
func calling(ctx workflow.Context, o workflow.ActivityOptions, tenant, summary string) workflow.Context {
	o.Summary, o.Priority.FairnessKey = summary, tenant
	return workflow.WithActivityOptions(ctx, o)
}
