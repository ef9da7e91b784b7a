package objstore

import (
	"errors"
	"fmt"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// codeError is an error that came inside of an answer.
type codeError struct{ code, msg string }

func (e *codeError) Error() string     { return e.code + ": " + e.msg }
func (e *codeError) ErrorCode() string { return e.code }

// codeOf is S3's word for an error, or "".
func codeOf(err error) string {
	var api smithy.APIError
	var part *codeError
	switch {
	case errors.As(err, &api):
		return api.ErrorCode()
	case errors.As(err, &part):
		return part.code
	}
	return ""
}

func isCode(err error, code string) bool { return err != nil && codeOf(err) == code }

// statusOf is the HTTP status of an error, or 0.
func statusOf(err error) int {
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.Response != nil {
		return re.HTTPStatusCode()
	}
	return 0
}

// taken marks the answers of servers that found the name taken, or could not tell because another writes it now, or know
// nothing of an upload any more. settle looks at the object then.
func taken(err error) error {
	if statusOf(err) == 412 || isCode(err, "PreconditionFailed") {
		return fmt.Errorf("%w: %w", errTaken, err)
	}
	if statusOf(err) == 501 {
		return fmt.Errorf("the server does not know If-None-Match, which keeps two writers apart: give the storage WITH (put_if_absent = false) to do without: %w", err)
	}
	return err
}

// kind implements driver. Codes: Amazon S3 API Reference, error responses; other servers use the same.
func (d *s3Driver) kind(err error) error {
	switch codeOf(err) {
	case "NoSuchKey", "NotFound":
		return ErrNotExist
	case "NoSuchBucket":
		return ErrNoBucket
	case "PermanentRedirect", "AuthorizationHeaderMalformed": // the wrong region
		return ErrForbidden
	case "ExpiredToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "RequestExpired":
		return ErrDenied // new credentials, or a clock that is set right, let the next try in
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "XMinioAdminBucketQuotaExceeded":
		return ErrFull
	}
	switch statusOf(err) {
	case 401, 403:
		return ErrForbidden
	case 404:
		if codeOf(err) == "NoSuchUpload" {
			return nil
		}
		return ErrNotExist
	case 507:
		return ErrFull
	}
	if codeOf(err) == "AccessDenied" {
		return ErrForbidden
	}
	return nil
}
