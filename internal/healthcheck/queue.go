package healthcheck

import (
	"container/heap"
	"slices"
)

// queue is a heap of tasks, the next due first.
type queue []*task

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is heap's own; nothing but tasks is pushed.
func (q *queue) Push(x any) { *q = append(*q, x.(*task)) }

// Pop is heap's own.
func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}

// drop takes an instance's tasks out. Instances go seldom: the heap is made anew.
func (q *queue) drop(of *instance) {
	*q = slices.DeleteFunc(*q, func(t *task) bool { return t.of == of })
	heap.Init(q)
}
