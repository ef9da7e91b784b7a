package temporalconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdk "go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

const dialTimeout = 15 * time.Second

// Dial connects and looks the namespace up, so that a wrong one is an error now and not in the middle of a job.
// The error is *fail.Unreachable.
func Dial(ctx context.Context, opts sdk.Options) (sdk.Client, *workflowservice.DescribeNamespaceResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := sdk.DialContext(ctx, opts)
	if err != nil {
		return nil, nil, temporalError(opts, err)
	}
	ns, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: opts.Namespace})
	if err != nil {
		c.Close()
		return nil, nil, temporalError(opts, err)
	}
	return c, ns, nil
}

// AttributesError says who can do what about search attributes that are missing.
func AttributesError(address string, err error) error {
	var e *embedtemporal.SearchAttributesError
	if !errors.As(err, &e) {
		return err
	}
	command := embedtemporal.CreateCommand(e.Namespace, e.Missing) + " --address " + address
	var denied *serviceerror.PermissionDenied
	switch {
	case errors.Is(err, embedtemporal.ErrAttributeType):
		return fail.Hint(err, "give Spillway a namespace of its own with --temporal-namespace, or remove the attributes of that name")
	case errors.As(err, &denied):
		return fail.Hint(err, "let an administrator of the namespace run: %s", command)
	}
	return fail.Hint(err, "if the namespace has no room for more, remove attributes that nobody uses, or give Spillway a namespace of its own; then run: %s", command)
}

// temporalError says what to do about a Temporal that does not answer, or does not let us in.
func temporalError(opts sdk.Options, err error) error {
	e := &fail.Unreachable{What: "Temporal at " + opts.HostPort + " cannot be reached", Err: err}
	var missing *serviceerror.NamespaceNotFound
	switch code := statusCode(err); {
	case errors.As(err, &missing):
		e.What, e.Err = fmt.Sprintf("Temporal at %s has no namespace %q", opts.HostPort, opts.Namespace), nil
		e.Todo = fmt.Sprintf("name another with --temporal-namespace, or create it: temporal operator namespace create --namespace %s --retention 168h --address %s",
			opts.Namespace, opts.HostPort)
	case code == codes.PermissionDenied, code == codes.Unauthenticated:
		e.What = fmt.Sprintf("Temporal at %s does not let us into the namespace %q", opts.HostPort, opts.Namespace)
		e.Todo = "check TEMPORAL_API_KEY or the client certificate (TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH), and what it may do in the namespace"
	default:
		e.Todo = connectHint(err, opts.ConnectionOptions.TLS != nil)
	}
	return e
}

// statusCode is the code of gRPC that Temporal's error stands for.
func statusCode(err error) codes.Code {
	var se serviceerror.ServiceError
	if errors.As(err, &se) {
		return se.Status().Code()
	}
	return status.Code(err)
}

// connectHint reads what went wrong between the two machines. Neither gRPC nor crypto/tls keeps a type for it that would
// arrive here, so that their words have to do.
func connectHint(err error, encrypted bool) string {
	text := err.Error()
	says := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	hungUp := says("server preface", "connection reset", "broken pipe", "EOF", "connection closed")
	switch {
	case says("first record does not look like a TLS handshake"):
		return "this Temporal speaks no TLS: leave TEMPORAL_TLS, TEMPORAL_API_KEY and certificates out, or set TEMPORAL_TLS=false"
	case says("remote error: tls: "), encrypted && hungUp:
		// A server that misses a client certificate says so after the client believes that all is well: its words may be lost.
		return "this Temporal may want a client certificate that it knows: TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"
	case says("x509: ", "tls: "):
		return "check the server's certificate: TEMPORAL_TLS_SERVER_CA_CERT_PATH names who signed it, TEMPORAL_TLS_SERVER_NAME the name in it"
	case hungUp:
		return "if this Temporal speaks TLS, set TEMPORAL_TLS=true; also check --temporal-address"
	}
	return "check --temporal-address and --temporal-namespace; without them `spillway up` runs a Temporal of its own"
}
