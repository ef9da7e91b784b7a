package main

import (
	"fmt"
	"os"
)

func main() {
	list, err := linked("./cmd/spillway")
	if err == nil {
		err = write(os.Stdout, list)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}
