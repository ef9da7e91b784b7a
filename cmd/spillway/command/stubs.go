package command

import "github.com/spf13/cobra"

func newDemo(*Env) *cobra.Command   { return later("demo", "x", "x", "x", nil) }
func newUp(*Env) *cobra.Command     { return later("up", "x", "x", "x", nil) }
func newWorker(*Env) *cobra.Command { return later("worker", "x", "x", "x", nil) }
func newFront(*Env) *cobra.Command  { return later("front", "x", "x", "x", nil) }
func newCat(*Env) *cobra.Command    { return later("cat", "x", "x", "x", nil) }
func newDoctor(*Env) *cobra.Command { return later("doctor", "x", "x", "x", nil) }
