package command

import "runtime/debug"

// commit and buildDate are set by the linker (see the Makefile). The date is that of the commit: two builds of one commit are
// the same, byte for byte.
var commit, buildDate = "", ""

// builtFrom returns the commit that the program was built from, or "".
func builtFrom() string { return linked(commit, "vcs.revision") }

// builtAt returns when it was built, or when what it was built from was committed; "": not known.
func builtAt() string { return linked(buildDate, "vcs.time") }

// linked prefers what the linker was told to what the go command found out.
func linked(told, setting string) string {
	if told != "" {
		return told
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == setting {
			return s.Value
		}
	}
	return ""
}

func orNull(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}
