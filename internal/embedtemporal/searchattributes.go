package embedtemporal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

// EnsureSearchAttributes registers those of the attributes that the namespace lacks and returns when all can be used. It
// may be called on every start, and by several processes at once. ctx limits the wait; a first registration takes a
// second or two to be known everywhere.
//
// The error is *SearchAttributesError when attributes cannot be registered (the namespace has no room for more of a type,
// one of the name has another type, or only an administrator may).
func EnsureSearchAttributes(ctx context.Context, c client.Client, namespace string, attributes map[string]enumspb.IndexedValueType) error {
	missing, err := MissingSearchAttributes(ctx, c, namespace, attributes)
	if err != nil {
		return &SearchAttributesError{Namespace: namespace, Missing: missing, Err: err}
	}
	if len(missing) > 0 {
		_, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
			Namespace:        namespace,
			SearchAttributes: missing,
		})
		var exists *serviceerror.AlreadyExists // somebody else was faster
		if err != nil && !errors.As(err, &exists) {
			return &SearchAttributesError{Namespace: namespace, Missing: missing, Err: err}
		}
	}
	return awaitUsable(ctx, c, namespace, attributes)
}

// MissingSearchAttributes are those that the namespace does not have. It changes nothing. One of another type is an error
// that wraps ErrAttributeType; it is among those returned.
//
// Who may not list attributes, as on clusters where that takes an administrator, learns it from queries that name them.
func MissingSearchAttributes(ctx context.Context, c client.Client, namespace string, want map[string]enumspb.IndexedValueType) (map[string]enumspb.IndexedValueType, error) {
	missing, err := listMissing(ctx, c, namespace, want)
	var denied *serviceerror.PermissionDenied
	var unimplemented *serviceerror.Unimplemented
	if errors.As(err, &denied) || errors.As(err, &unimplemented) {
		return probeMissing(ctx, c, namespace, want)
	}
	return missing, err
}

// probeMissing asks a question about each attribute. One that the namespace does not know makes the question invalid.
func probeMissing(ctx context.Context, c client.Client, namespace string, want map[string]enumspb.IndexedValueType) (map[string]enumspb.IndexedValueType, error) {
	if len(want) == 0 || count(ctx, c, namespace, slices.Sorted(maps.Keys(want))...) == nil {
		return nil, nil
	}
	missing := map[string]enumspb.IndexedValueType{}
	for name, kind := range want {
		err := count(ctx, c, namespace, name)
		var invalid *serviceerror.InvalidArgument
		switch {
		case errors.As(err, &invalid):
			missing[name] = kind
		case err != nil:
			return want, fmt.Errorf("look for the search attribute %s: %w", name, err)
		}
	}
	return missing, nil
}

// count asks a question that names attributes.
func count(ctx context.Context, c client.Client, namespace string, names ...string) error {
	query := strings.Join(names, " IS NULL AND ") + " IS NULL"
	_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: namespace, Query: query})
	return err
}

func listMissing(ctx context.Context, c client.Client, namespace string, want map[string]enumspb.IndexedValueType) (map[string]enumspb.IndexedValueType, error) {
	found, err := listAttributes(ctx, c, namespace)
	if err != nil {
		return want, fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	var wrong []string
	for name, kind := range want {
		have, ok := found[name]
		switch {
		case !ok:
			missing[name] = kind
		case have != kind:
			missing[name] = kind
			wrong = append(wrong, fmt.Sprintf("%s is %s", name, have))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return missing, fmt.Errorf("%w: %s", ErrAttributeType, strings.Join(wrong, ", "))
	}
	return missing, nil
}

// listAttributes returns the search attributes that a namespace knows. Where visibility is kept in SQL, the server names its columns,
// and the namespace says which name each has there.
//
// Warning: OperatorService.ListSearchAttributes is the call made for this, but the server of Temporal 1.32 opens a connection of its
// own for each call of it and never closes it, so that a server grows with every start of a worker.
func listAttributes(ctx context.Context, c client.Client, namespace string) (map[string]enumspb.IndexedValueType, error) {
	found, err := c.GetSearchAttributes(ctx)
	if err != nil {
		return nil, err
	}
	described, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	aliases := described.GetConfig().GetCustomSearchAttributeAliases()
	have := map[string]enumspb.IndexedValueType{}
	for name, kind := range found.GetKeys() {
		if alias, ok := aliases[name]; ok {
			name = alias
		}
		have[name] = kind
	}
	return have, nil
}

// awaitUsable asks a question that names all attributes until the server understands it.
func awaitUsable(ctx context.Context, c client.Client, namespace string, attributes map[string]enumspb.IndexedValueType) error {
	if len(attributes) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(attributes))
	err := retry(ctx, func(ctx context.Context) error {
		return count(ctx, c, namespace, names...)
	}, func(err error) bool {
		var denied *serviceerror.PermissionDenied
		var unknown *serviceerror.NamespaceNotFound
		return errors.As(err, &denied) || errors.As(err, &unknown)
	})
	if err == nil {
		return nil
	}
	missing, listErr := MissingSearchAttributes(context.WithoutCancel(ctx), c, namespace, attributes)
	if listErr != nil || len(missing) == 0 {
		missing = attributes // registered, and still not understood
	}
	return &SearchAttributesError{Namespace: namespace, Missing: missing, Err: fmt.Errorf("not usable yet: %w", err)}
}
