// Command codec is the codec server of an installation whose Temporal runs apart: Temporal's UI and command line ask
// it to decrypt what they show. Whoever reaches it can read every history, so it listens on the loopback unless it is
// told otherwise.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/durable-dea/dea/internal/codec"
)

// shutdownGrace is how long an answer that has begun may take once the server was told to end.
const shutdownGrace = 5 * time.Second

type options struct {
	listen, keyFile string
	origins         []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "codec:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. It fails when the key file cannot be read, or the address cannot be listened at.
func run(ctx context.Context, args []string) error {
	opts, err := parse(args)
	if err != nil {
		return err
	}
	ring, err := codec.LoadKeyring(opts.keyFile)
	if err != nil {
		return fmt.Errorf("load the keys: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opts.listen)
	if err != nil {
		return fmt.Errorf("listen (--listen): %w", err)
	}
	fmt.Fprintf(os.Stderr, "codec server on http://%s\n", listener.Addr())
	return serve(ctx, listener, codec.Handler(ring, opts.origins))
}

func parse(args []string) (options, error) {
	var opts options
	flags := pflag.NewFlagSet("codec", pflag.ContinueOnError)
	flags.StringVar(&opts.listen, "listen", "127.0.0.1:8234", "address to listen at")
	flags.StringVar(&opts.keyFile, "key-file", "", "file of the keys that encrypt what crosses Temporal (required)")
	flags.StringSliceVar(&opts.origins, "origin", nil, "origin whose pages may ask, such as http://localhost:8233")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if opts.keyFile == "" {
		return options{}, errors.New("--key-file is missing")
	}
	return opts, nil
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return fmt.Errorf("end the server: %w", err)
	}
	return nil
}
