package main

import (
	"context"
	"fmt"
	"os"

	"github.com/durable-dea/dea/wardend/internal/cli"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

func main() {
	// Before anything else: an init lives as long as its container, and its memory is paid once for each.
	if len(os.Args) >= 2 && os.Args[1] == cli.InitCommand {
		os.Exit(initproc.Main(os.Args[2:]...))
	}
	if err := cli.New(os.Stderr).ExecuteContext(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "wardend: %v\n", err)
		os.Exit(1)
	}
}
