// Staticd serves a directory over HTTP: the web process of the static buildpack.
//
//	PORT=8080 ./staticd -root public
//
// It listens on $PORT, serves index.html for a directory and 404.html for what is not there, and never anything
// outside of the directory nor names that begin with a dot. On TERM it finishes what it is answering.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	root := flag.String("root", ".", "the directory to serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, *root, os.Getenv("PORT"))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "staticd:", err)
		os.Exit(1)
	}
}

// shutdownTime is a little less than what a stopping container has.
const shutdownTime = 8 * time.Second

func run(ctx context.Context, dir, port string) error {
	if port == "" {
		return errors.New("PORT is not set")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           logged(log.New(os.Stdout, "", 0), &site{root: root}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	return server.Shutdown(limited)
}
