package applogs

import (
	"slices"
	"sync"
	"time"
)

const (
	// window is for how long a line is held for those of other instances that are older: a node looks at quiet logs four
	// times a second.
	window = 500 * time.Millisecond
	// maxHeld and maxHeldBytes bound the lines that are held; where there are more the older half is shown at once.
	maxHeld      = 20_000
	maxHeldBytes = 64 << 20
)

// merger brings the lines of several instances in the order of time. Those of one stream of an instance keep their order. It
// is safe for concurrent use, and hands out no two lines at once.
type merger struct {
	emit func(Line)
	now  func() time.Time
	// lines is how many of the first ones are shown.
	lines int

	mu   sync.Mutex
	held []heldLine
	// size is the length of their texts, in bytes.
	size int
	// latest is the key of each stream's last line.
	latest map[origin]time.Time
	// begun: lines go out; before, they are collected.
	begun bool
}

// origin is one stream of an instance.
type origin struct{ instance, stream string }

// heldLine is a line that waits.
type heldLine struct {
	Line
	// key is what lines are ordered by: the time, but not before that of an earlier line of the stream.
	key     time.Time
	arrived time.Time
}

func newMerger(emit func(Line), lines int) *merger {
	return &merger{emit: emit, now: time.Now, lines: lines, latest: map[origin]time.Time{}}
}

// add takes a line.
func (m *merger) add(line Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, key := origin{line.Instance, line.Stream}, line.Time
	if last := m.latest[from]; key.Before(last) {
		key = last
	}
	m.latest[from] = key
	m.held = append(m.held, heldLine{Line: line, key: key, arrived: m.now()})
	m.size += len(line.Text)
	switch {
	case !m.begun && len(m.held) > 2*m.lines:
		m.trim()
	case m.begun && (len(m.held) > maxHeld || m.size > maxHeldBytes):
		m.sort()
		m.show((len(m.held) + 1) / 2)
	}
}

// trim drops those that are not among the last ones.
func (m *merger) trim() {
	m.sort()
	m.drop(max(len(m.held)-m.lines, 0))
}

// begin ends the collecting of the first lines, and shows the last of those. It does nothing when it was called before.
func (m *merger) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.begun {
		return
	}
	m.begun = true
	m.trim()
	m.show(len(m.held))
}

// flush shows what was held for long enough by a time, with all that is older; all where it is zero.
func (m *merger) flush(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.begun {
		return
	}
	m.sort()
	n := len(m.held)
	for ; n > 0 && !now.IsZero() && now.Sub(m.held[n-1].arrived) < window; n-- {
	}
	m.show(n)
}

func (m *merger) sort() {
	slices.SortStableFunc(m.held, func(a, b heldLine) int { return a.key.Compare(b.key) })
}

// show hands out the first lines.
func (m *merger) show(n int) {
	for _, line := range m.held[:n] {
		m.emit(line.Line)
	}
	m.drop(n)
}

// drop forgets the first lines.
func (m *merger) drop(n int) {
	for _, line := range m.held[:n] {
		m.size -= len(line.Text)
	}
	m.held = slices.Delete(m.held, 0, n)
}
