// Hello is an example app: it says which of its instances answers.
//
//	/               Hello from instance 0 of hello
//	/env            where it runs; nothing secret
//	/exit?status=N  ends it with status N (default 1), to see it replaced
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := &http.Server{
		Addr:              ":" + os.Getenv("PORT"),
		Handler:           routes(os.Exit),
		ReadHeaderTimeout: 10 * time.Second,
	}
	done := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(done)
		limited, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		_ = server.Shutdown(limited)
	})
	log.Printf("instance %s listens on port %s", instance(), os.Getenv("PORT"))
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	// Serving ends when the shutdown begins; what is being answered may take until its end.
	<-done
	log.Print("told to end, and done")
}

func routes(exit func(status int)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "Hello from instance %s of hello\n", instance())
	})
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, _ *http.Request) {
		// Not all of it: credentials of services are in the environment, too.
		for _, name := range []string{"CF_INSTANCE_INDEX", "CF_INSTANCE_ADDR", "CF_INSTANCE_PORT", "PORT", "MEMORY_LIMIT", "HOME"} {
			fmt.Fprintf(w, "%s=%s\n", name, os.Getenv(name))
		}
	})
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.FormValue("status"))
		if err != nil || status < 0 || status > 255 {
			status = 1
		}
		fmt.Fprintf(w, "Instance %s ends with status %d\n", instance(), status)
		log.Printf("asked to end with status %d", status)
		// The answer goes out first.
		time.AfterFunc(100*time.Millisecond, func() { exit(status) })
	})
	return mux
}

func instance() string {
	if index := os.Getenv("CF_INSTANCE_INDEX"); index != "" {
		return index
	}
	return "?"
}
