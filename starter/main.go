// Command starter is the platform's command line: it pushes apps, keeps them at a number of instances, and shows what
// they and the nodes do. `starter help` lists its commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/durable-dea/dea/starter/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the work in good order; a second one ends the program.
	context.AfterFunc(ctx, stop)
	return cli.Run(ctx, cli.Process{
		Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Now: time.Now,
	})
}
