package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

const (
	// retention keeps closed workflows of a namespace that we make; the server's own default is a day, which hides last week's runs.
	retention = 30 * 24 * time.Hour
	// provisionWait bounds how long a new namespace or attribute may take to be seen; server caches refresh within 10 s.
	provisionWait = 60 * time.Second
)

// wantedAttributes are the search attributes, by the type under which the server must know them.
func wantedAttributes() map[string]enums.IndexedValueType {
	return map[string]enums.IndexedValueType{
		workflows.TenantAttribute.GetName():   workflows.TenantAttribute.GetValueType(),
		workflows.AppAttribute.GetName():      workflows.AppAttribute.GetValueType(),
		workflows.StageAttribute.GetName():    workflows.StageAttribute.GetValueType(),
		workflows.AwaitingAttribute.GetName(): workflows.AwaitingAttribute.GetValueType(),
		workflows.OutcomeAttribute.GetName():  workflows.OutcomeAttribute.GetValueType(),
	}
}

// CheckNamespace makes sure that the namespace exists and has the search attributes in the right types. With create it makes what is
// missing; otherwise the error holds the exact commands that do. An attribute of a wrong type is never changed.
func (c *Client) CheckNamespace(ctx context.Context, create bool) error {
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	if err := c.checkNamespaceExists(ctx, create); err != nil {
		return err
	}
	missing, err := c.missingAttributes(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	if !create {
		return missingAttributesError(c.namespace, missing)
	}
	return c.createAttributes(ctx, missing)
}

func (c *Client) checkNamespaceExists(ctx context.Context, create bool) error {
	_, err := c.temporal.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: c.namespace})
	if !isMissingNamespace(err) {
		return c.classify(ctx, err, "the namespace "+c.namespace, "")
	}
	if !create {
		return missingNamespace(c.namespace)
	}
	_, err = c.temporal.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: c.namespace, WorkflowExecutionRetentionPeriod: durationpb.New(retention), Description: "Holdfast"})
	var exists *serviceerror.NamespaceAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return c.classify(ctx, err, "making the namespace "+c.namespace, "")
	}
	return nil
}

// missingAttributes compares; a wrong type is an error.
func (c *Client) missingAttributes(ctx context.Context) (map[string]enums.IndexedValueType, error) {
	have, err := c.listAttributes(ctx)
	if err != nil {
		return nil, err
	}
	missing := map[string]enums.IndexedValueType{}
	for name, kind := range wantedAttributes() {
		switch got, ok := have[name]; {
		case !ok:
			missing[name] = kind
		case got != kind:
			return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
				Message: fmt.Sprintf("the search attribute %s of the namespace %s is a %s and must be a %s", name, c.namespace, got, kind),
				Hint:    fmt.Sprintf("temporal operator search-attribute remove --namespace %s --name %s\n%s", c.namespace, name, createCommand(c.namespace, name, kind))}
		}
	}
	return missing, nil
}

// listAttributes asks again while a namespace that was just made is not seen everywhere.
func (c *Client) listAttributes(ctx context.Context) (map[string]enums.IndexedValueType, error) {
	for {
		have, err := c.temporal.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: c.namespace})
		if err == nil {
			return have.GetCustomAttributes(), nil
		}
		if !isMissingNamespace(err) || sleep(ctx, triggerPoll) != nil {
			return nil, c.classify(ctx, err, "the search attributes of "+c.namespace, "")
		}
	}
}

func (c *Client) createAttributes(ctx context.Context, missing map[string]enums.IndexedValueType) error {
	_, err := c.temporal.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: c.namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return c.classify(ctx, err, "making the search attributes of "+c.namespace, "")
	}
	return c.awaitAttributes(ctx, missing)
}

// awaitAttributes waits until a visibility query may name them all. Their being listed is not enough: the frontend refuses
// workflows with a new attribute for some seconds more, until its namespace cache is fresh.
func (c *Client) awaitAttributes(ctx context.Context, missing map[string]enums.IndexedValueType) error {
	terms := make([]string, 0, len(missing))
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		terms = append(terms, name+" IS NOT NULL")
	}
	query := &workflowservice.CountWorkflowExecutionsRequest{Namespace: c.namespace, Query: strings.Join(terms, " AND ")}
	for {
		_, err := c.temporal.CountWorkflow(ctx, query)
		if err == nil {
			return nil
		}
		if sleep(ctx, triggerPoll) != nil {
			return c.classify(ctx, err, "making the search attributes of "+c.namespace, "")
		}
	}
}

func isMissingNamespace(err error) bool {
	var missing *serviceerror.NamespaceNotFound
	return errors.As(err, &missing)
}

func missingNamespace(namespace string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "Temporal has no namespace " + namespace,
		Hint: fmt.Sprintf("temporal operator namespace create --namespace %s --retention %s", namespace, "720h")}
}

func missingAttributesError(namespace string, missing map[string]enums.IndexedValueType) error {
	names := slices.Sorted(maps.Keys(missing))
	commands := make([]string, len(names))
	for i, name := range names {
		commands[i] = createCommand(namespace, name, missing[name])
	}
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
		Message: "the namespace " + namespace + " lacks the search attributes " + strings.Join(names, ", "), Hint: strings.Join(commands, "\n")}
}

func createCommand(namespace, name string, kind enums.IndexedValueType) string {
	return fmt.Sprintf("temporal operator search-attribute create --namespace %s --name %s --type %s", namespace, name, kind)
}
