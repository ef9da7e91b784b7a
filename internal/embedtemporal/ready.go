package embedtemporal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

const pollEvery = 20 * time.Millisecond

// retry calls f until it returns nil, ctx ends or final says that trying again is no use.
func retry(ctx context.Context, f func(ctx context.Context) error, final func(error) bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil || final(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last answer: %w)", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// awaitServing waits until the frontend serves, and the services behind it answer for our namespace.
func (s *Server) awaitServing(ctx context.Context) error {
	err := retry(ctx, func(ctx context.Context) error {
		if err := s.Err(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if _, err := s.client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
			return err
		}
		if _, err := s.client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{}); err != nil {
			return err
		}
		return historyAnswers(ctx, s.client)
	}, func(error) bool { return s.Err() != nil })
	if err != nil {
		return &ServerError{Msg: "does not become ready", Err: err}
	}
	return nil
}

// historyAnswers asks for a workflow that is not there: only the owner of its shard can say so.
func historyAnswers(ctx context.Context, c client.Client) error {
	_, err := c.DescribeWorkflowExecution(ctx, "spillway-no-such-workflow", "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil
	}
	return err
}

// setRetention changes the namespace only if need be.
func setRetention(ctx context.Context, c client.Client, name string, retention time.Duration) error {
	service := c.WorkflowService()
	found, err := service.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: name})
	if err != nil {
		return err
	}
	if found.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration() == retention {
		return nil
	}
	_, err = service.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: name,
		Config:    &namespace.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(retention)},
	})
	return err
}
