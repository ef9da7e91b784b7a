package flush

// CheckPath says whether a template of directories can be used: by what ExpandPath says of it with a value for every variable.
// The error is *PathError.
func CheckPath(template string) error {
	vars := map[string]string{}
	for _, name := range pathVars {
		vars[name] = "x"
	}
	_, err := ExpandPath(template, vars)
	return err
}
