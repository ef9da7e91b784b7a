package temporalconn

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.temporal.io/api/serviceerror"
	sdk "go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"

	"github.com/spillwaydb/spillway/internal/cli/fail"
)

// Errors of Temporal's client in the forms in which they arrive.
func TestConnectHint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"connection error: desc = \"transport: authentication handshake failed: tls: first record does not look like a TLS handshake\"": "speaks no TLS",
		"authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority":             "SERVER_CA_CERT_PATH",
		"tls: failed to verify certificate: x509: certificate is valid for a, not b":                                                    "TLS_SERVER_NAME",
		"error reading server preface: remote error: tls: certificate required":                                                         "client certificate",
		"write tcp 127.0.0.1:57066->127.0.0.1:35317: write: broken pipe":                                                                "client certificate",
		"remote error: tls: unknown certificate authority":                                                                              "client certificate",
		"error reading server preface: EOF":                                                                                             "TEMPORAL_TLS=true",
		"dial tcp 127.0.0.1:1: connect: connection refused":                                                                             "--temporal-address",
	} {
		if got := connectHint(errors.New(text), strings.Contains(want, "certificate")); !strings.Contains(got, want) {
			t.Errorf("%s: %s", text, got)
		}
	}
	denied := temporalError(sdk.Options{HostPort: "h:1", Namespace: "n"}, serviceerror.NewPermissionDenied("no", ""))
	var out *fail.Unreachable
	if !errors.As(denied, &out) || !strings.Contains(out.Hint(), "TEMPORAL_API_KEY") {
		t.Errorf("%v, hint %+v", denied, out)
	}
	if code := statusCode(context.DeadlineExceeded); code == codes.PermissionDenied {
		t.Errorf("a time-out has the code %s", code)
	}
}
