// Spillway moves old rows of a PostgreSQL table to Parquet files, each row exactly once.
package main

import (
	"os"

	"github.com/spillwaydb/spillway/cmd/spillway/command"
)

func main() {
	os.Exit(command.Main(os.Args[1:]))
}
