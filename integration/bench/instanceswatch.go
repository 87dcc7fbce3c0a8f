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
	l := &listener[T]{instancesBench: b, workflowID: workflowID, signal: signal, heard: make(chan news[T], 1024)}
	go func() {
		defer close(l.heard)
		for failures := 0; ; failures++ {
			err := l.read(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			if failures == listenTries {
				l.tell(ctx, news[T]{err: err})
				return
			}
		}
	}()
	return l.heard
}

// listenTries is how often a history is read again from its beginning: Temporal takes a long poll's place in a history back
// when the server itself has written that anew meanwhile.
const listenTries = 20

// listener reads a history for listen.
type listener[T any] struct {
	*instancesBench
	workflowID string
	signal     api.Signal[T]
	heard      chan news[T]
	// told is how many signals were given already.
	told int
}

// read gives the signals of a history that were not given already, until the workflow's end or an error.
func (l *listener[T]) read(ctx context.Context) error {
	events := l.Temporal.GetWorkflowHistory(ctx, l.workflowID, "", true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for seen := 0; events.HasNext(); {
		event, err := events.Next()
		if err != nil {
			return err
		}
		one := news[T]{at: time.Now()}
		signaled := event.GetWorkflowExecutionSignaledEventAttributes()
		if signaled.GetSignalName() != l.signal.Name() {
			continue
		}
		if seen++; seen <= l.told {
			continue
		}
		one.err = l.keys.DataConverter().FromPayloads(signaled.GetInput(), &one.value)
		if !l.tell(ctx, one) {
			return nil
		}
		l.told++
	}
	return nil
}

func (l *listener[T]) tell(ctx context.Context, one news[T]) bool {
	select {
	case l.heard <- one:
		return true
	case <-ctx.Done():
		return false
	}
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
