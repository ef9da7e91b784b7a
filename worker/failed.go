package worker

import (
	"context"
	"errors"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/activities"
)

// Failed hears of an attempt at a step of a job that failed: the class of its error. retryable means that it may be tried again. What a stop or a KILL cut off is no failure.
type Failed func(class string, retryable bool)

func (f Failed) interceptors() []interceptor.WorkerInterceptor {
	if f == nil {
		return nil
	}
	return []interceptor.WorkerInterceptor{&failures{failed: f}}
}

type failures struct {
	interceptor.WorkerInterceptorBase
	failed Failed
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (f *failures) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &failuresInbound{ActivityInboundInterceptorBase: interceptor.ActivityInboundInterceptorBase{Next: next}, failed: f.failed}
}

type failuresInbound struct {
	interceptor.ActivityInboundInterceptorBase
	failed Failed
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (f *failuresInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	res, err := f.Next.ExecuteActivity(ctx, in)
	if err == nil || errors.Is(err, activity.ErrResultPending) {
		return res, err
	}
	class, retryable := activities.ClassInternal, true
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		class, retryable = app.Type(), !app.NonRetryable()
		if app.Category() == temporal.ApplicationErrorCategoryBenign {
			return res, err
		}
	}
	if ctx.Err() == nil && !temporal.IsCanceledError(err) {
		f.failed(class, retryable)
	}
	return res, err
}
