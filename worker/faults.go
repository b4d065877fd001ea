//go:build faults

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
)

// A build with the tag "faults" kills itself where a test asks for it: HOLDFAST_FAULT=KIND:NUMBER:before|after is the moment before or
// after the NUMBER-th activity (from 1) that belongs to a workflow whose type is KIND. No such code is in a program that is shipped.
func init() {
	kind, rest, ok := strings.Cut(os.Getenv("HOLDFAST_FAULT"), ":")
	number, moment, _ := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return
	}
	workerInterceptors = append(workerInterceptors, &killer{kind: kind, number: n, after: moment == "after"})
}

type killer struct {
	interceptor.WorkerInterceptorBase
	kind   string
	number int64
	after  bool
	seen   atomic.Int64
}

func (k *killer) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &killingActivity{killer: k}
	i.Next = next
	return i
}

type killingActivity struct {
	interceptor.ActivityInboundInterceptorBase
	killer *killer
}

func (i *killingActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info, k := activity.GetInfo(ctx), i.killer
	if info.WorkflowType == nil || info.WorkflowType.Name != k.kind || k.seen.Add(1) != k.number {
		return i.Next.ExecuteActivity(ctx, in)
	}
	if k.after {
		_, _ = i.Next.ExecuteActivity(ctx, in)
	}
	fmt.Fprintf(os.Stderr, "fault: killed at %s\n", info.ActivityType.Name)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
