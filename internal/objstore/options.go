package objstore

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// OptionError is an option that a storage of its kind cannot have. It never repeats the value: it may be a secret that was
// meant for another place.
type OptionError struct {
	Option string
	Msg    string
	Hint   string // what to do, or ""
}

func (e *OptionError) Error() string { return e.Msg }

// Bounds and defaults of options.
const (
	minPartSize     = 5 << 20 // S3's own
	maxPartSize     = 512 << 20
	defaultPartSize = 8 << 20
	defaultTimeout  = time.Minute
	maxTimeout      = time.Hour
)

// OptionPath is the option that package flush reads: the template of the directories of tables. It is checked there.
const OptionPath = "path"

// settings are the options of a storage, read.
type settings struct {
	endpoint        string
	region          string
	profile         string
	credentialsFile string
	accessKeyEnv    string
	secretKeyEnv    string
	sessionTokenEnv string
	account         string
	pathStyle       *bool
	putIfAbsent     bool
	partSize        int
	timeout         time.Duration // without a byte moving
}

type optionReader struct {
	kinds string // schemes of the storages that have it
	read  func(s *settings, v string) error
}

// optionReaders holds, for each option, who has it and how its text is read.
var optionReaders = map[string]optionReader{
	"access_key_env":   {"s3", func(s *settings, v string) error { s.accessKeyEnv = v; return checkEnvName(v) }},
	"account":          {"az", func(s *settings, v string) error { s.account = v; return checkAccount(v) }},
	"account_key_env":  {"az", func(s *settings, v string) error { s.secretKeyEnv = v; return checkEnvName(v) }},
	"credentials_file": {"s3 gs", func(s *settings, v string) error { s.credentialsFile = v; return checkFileName(v) }},
	"endpoint":         {"s3 gs az", func(s *settings, v string) error { s.endpoint = strings.TrimSuffix(v, "/"); return checkEndpoint(v) }},
	"part_size":        {"s3 gs az", func(s *settings, v string) (err error) { s.partSize, err = readPartSize(v); return }},
	OptionPath:         {"file s3 gs az", func(*settings, string) error { return nil }},
	"path_style": {"s3", func(s *settings, v string) error {
		b, err := strconv.ParseBool(v)
		s.pathStyle = &b
		return orBoolean(err)
	}},
	"profile": {"s3", func(s *settings, v string) error { s.profile = v; return checkWord(v) }},
	"put_if_absent": {"s3", func(s *settings, v string) (err error) {
		s.putIfAbsent, err = strconv.ParseBool(v)
		return orBoolean(err)
	}},
	"region":            {"s3", func(s *settings, v string) error { s.region = v; return checkWord(v) }},
	"secret_key_env":    {"s3", func(s *settings, v string) error { s.secretKeyEnv = v; return checkEnvName(v) }},
	"session_token_env": {"s3", func(s *settings, v string) error { s.sessionTokenEnv = v; return checkEnvName(v) }},
	"timeout":           {"s3 gs az", func(s *settings, v string) (err error) { s.timeout, err = readTimeout(v); return }},
}

// KnownOptions lists the options of storages of a kind: file, s3, gs or az.
func KnownOptions(scheme string) []string {
	var known []string
	for name, o := range optionReaders {
		if slices.Contains(strings.Fields(o.kinds), scheme) {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	return known
}

// readOptions reads the options of a storage of a kind. The error is *OptionError.
func readOptions(scheme string, options map[string]string) (settings, error) {
	s := settings{putIfAbsent: true, partSize: defaultPartSize, timeout: defaultTimeout}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		reader, ok := optionReaders[name]
		if !ok || !slices.Contains(strings.Fields(reader.kinds), scheme) {
			return s, &OptionError{Option: name, Msg: fmt.Sprintf("unknown option %q of a storage of the kind %s", name, scheme),
				Hint: "Known options: " + strings.Join(KnownOptions(scheme), ", ") + "."}
		}
		if err := reader.read(&s, options[name]); err != nil {
			return s, &OptionError{Option: name, Msg: fmt.Sprintf("option %s: %v", name, err)}
		}
	}
	if (s.accessKeyEnv == "") != (s.secretKeyEnv == "") && scheme == "s3" {
		return s, &OptionError{Option: "access_key_env", Msg: "access_key_env and secret_key_env go together"}
	}
	if s.sessionTokenEnv != "" && s.accessKeyEnv == "" {
		return s, &OptionError{Option: "session_token_env", Msg: "session_token_env goes with access_key_env and secret_key_env"}
	}
	if s.accessKeyEnv != "" && (s.profile != "" || s.credentialsFile != "") {
		return s, &OptionError{Option: "access_key_env", Msg: "access_key_env goes neither with profile nor with credentials_file: name one place for the keys"}
	}
	return s, nil
}

// EnvPrefixes are how names of environment variables begin that a storage may name. The people who start a worker choose so
// what operators may have sent to an endpoint of their choice.
var EnvPrefixes = []string{"AWS_", "AZURE_", "SPILLWAY_STORAGE_"}

var envName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

func checkEnvName(v string) error {
	for _, p := range EnvPrefixes {
		if envName.MatchString(v) && strings.HasPrefix(v, p) && len(v) > len(p) {
			return nil
		}
	}
	return fmt.Errorf("expected the name of an environment variable of the workers that begins with %s, and not the key itself", strings.Join(EnvPrefixes, ", "))
}

func checkFileName(v string) error {
	if !filepath.IsAbs(v) || strings.ContainsRune(v, 0) {
		return fmt.Errorf("expected the absolute path of a file on the workers' machines")
	}
	return nil
}

var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$`)

func checkWord(v string) error {
	if !word.MatchString(v) {
		return fmt.Errorf("expected a name of letters, digits, dots, hyphens and underscores")
	}
	return nil
}

var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

func checkAccount(v string) error {
	if !accountName.MatchString(v) {
		return fmt.Errorf("expected the name of a storage account: 3 to 24 lower case letters and digits")
	}
	return nil
}

func checkEndpoint(v string) error {
	u, err := url.Parse(v)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return fmt.Errorf("expected a URL such as https://minio.example.org:9000")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("a URL with a user, a query or a fragment may hold a secret; secrets come from the environment or files of the workers")
	}
	return nil
}

func readPartSize(v string) (int, error) {
	digits := strings.TrimRight(v, "kMGBi ")
	unit, ok := map[string]int64{"": 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "KiB": 1 << 10, "MiB": 1 << 20}[strings.TrimSpace(v[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || n > maxPartSize/unit || n*unit < minPartSize {
		return 0, fmt.Errorf("expected a size from 5MB to 512MB")
	}
	return int(n * unit), nil
}

func readTimeout(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if ms, msErr := strconv.Atoi(v); msErr == nil {
		d, err = time.Duration(ms)*time.Millisecond, nil
	}
	if err != nil || d < 100*time.Millisecond || d > maxTimeout {
		return 0, fmt.Errorf("expected a time from 100ms to 1h, in milliseconds or such as 30s")
	}
	return d, nil
}

func orBoolean(err error) error {
	if err != nil {
		return fmt.Errorf("expected true or false")
	}
	return nil
}
