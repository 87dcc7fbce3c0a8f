package healthcheck

import (
	"container/heap"
	"slices"
	"time"
)

// queue is a heap of tasks, the next due first. Its elements hold when that is: an idle worker that compares them touches no
// memory of the tasks themselves, which is in nobody's cache by then.
type queue []queued

type queued struct {
	at time.Time
	*task
}

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is heap's own; nothing but queued tasks is pushed.
func (q *queue) Push(x any) { *q = append(*q, x.(queued)) }

// Pop is heap's own.
func (q *queue) Pop() any {
	last := len(*q) - 1
	next := (*q)[last]
	(*q)[last] = queued{}
	*q = (*q)[:last]
	return next
}

// add puts a task in, and tells whether it is the next.
func (q *queue) add(t *task, at time.Time) bool {
	heap.Push(q, queued{at, t})
	return (*q)[0].task == t
}

// take takes the next task out.
func (q *queue) take() *task { return heap.Pop(q).(queued).task } // the heap has nothing else

// drop takes an instance's tasks out. Instances go seldom: the heap is made anew.
func (q *queue) drop(of *instance) {
	*q = slices.DeleteFunc(*q, func(t queued) bool { return t.of == of })
	heap.Init(q)
}
