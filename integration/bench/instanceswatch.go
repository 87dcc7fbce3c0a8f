package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	enumspb "go.temporal.io/api/enums/v1"

	"github.com/durable-dea/dea/api"
)

// news is a signal that a workflow got.
type news[T any] struct {
	value T
	// at is when it was seen here, a few milliseconds after the workflow got it.
	at  time.Time
	err error
}

// listen gives the signals of one kind that a workflow has got and gets, until ctx ends. They come from the history by
// long polls: each is seen at once, and nothing is asked of a workflow or a worker meanwhile, which have the processors to
// themselves.
func listen[T any](ctx context.Context, b *instancesBench, workflowID string, signal api.Signal[T]) <-chan news[T] {
	heard := make(chan news[T], 1024)
	events := b.Temporal.GetWorkflowHistory(ctx, workflowID, "", true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	go func() {
		defer close(heard)
		for events.HasNext() {
			event, err := events.Next()
			one := news[T]{at: time.Now(), err: err}
			if err == nil {
				signaled := event.GetWorkflowExecutionSignaledEventAttributes()
				if signaled.GetSignalName() != signal.Name() {
					continue
				}
				one.err = b.keys.DataConverter().FromPayloads(signaled.GetInput(), &one.value)
			}
			select {
			case heard <- one:
			case <-ctx.Done():
				return
			}
			if one.err != nil {
				return
			}
		}
	}()
	return heard
}

// hear waits for the next of some news.
func hear[T any](ctx context.Context, of <-chan news[T]) (news[T], error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case one, ok := <-of:
		if !ok {
			return one, errors.New("the workflow has ended")
		}
		if one.err != nil {
			return one, fmt.Errorf("read a history: %w", one.err)
		}
		return one, nil
	case <-ctx.Done():
		return news[T]{}, fmt.Errorf("nothing is heard: %w", ctx.Err())
	}
}

// patience is for what takes some milliseconds, or seconds when there is much of it.
const patience = 2 * time.Minute

// awaitRunning waits until so many instances are RUNNING, and gives the one that was the last.
func awaitRunning(ctx context.Context, of <-chan news[api.InstanceStatus], count int) (news[api.InstanceStatus], error) {
	running := map[string]bool{}
	for {
		one, err := hear(ctx, of)
		if err != nil {
			return one, fmt.Errorf("%d of %d instances are RUNNING: %w", len(running), count, err)
		}
		switch status := one.value; {
		case status.State == api.StateRunning:
			if running[status.InstanceID] = true; len(running) == count {
				return one, nil
			}
		case status.State.Ended():
			return one, fmt.Errorf("instance %d does not run: %+v", status.Index, status.Exit)
		}
	}
}

// awaitAnswer asks an address until it answers.
func awaitAnswer(ctx context.Context, address string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			return time.Time{}, err
		}
		answer, err := client.Do(request)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			err = errors.Join(err, answer.Body.Close())
		}
		if err == nil {
			return time.Now(), nil
		}
		select {
		case <-time.After(handPause):
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("it does not answer: %w", err)
		}
	}
}
