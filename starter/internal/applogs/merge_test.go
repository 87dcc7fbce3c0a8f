package applogs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shown is a merger whose clock the test sets, with what it has shown.
type shown struct {
	*merger
	time  time.Time
	texts []string
}

func newShown(lines int) *shown {
	s := &shown{time: time.Unix(10_000, 0)}
	s.merger = newMerger(func(l Line) { s.texts = append(s.texts, l.Text) }, lines)
	s.now = func() time.Time { return s.time }
	return s
}

func (s *shown) say(instance string, second int64, text string) {
	s.add(Line{Instance: instance, Time: time.Unix(second, 0), Text: text})
}

// took gives what was shown since it was asked last.
func (s *shown) took() []string {
	texts := s.texts
	s.texts = nil
	return texts
}

func TestFirstLinesAreShownTogether(t *testing.T) {
	s := newShown(3)
	for n := range int64(10) {
		s.say("a", 100+2*n, fmt.Sprint("a", n))
		s.say("b", 101+2*n, fmt.Sprint("b", n))
	}
	s.flush(time.Time{})
	require.Empty(t, s.took(), "not before all are there")
	require.LessOrEqual(t, len(s.held), 2*s.lines)
	s.begin()
	require.Equal(t, []string{"b8", "a9", "b9"}, s.took())
	s.begin()
	require.Empty(t, s.took())
}

func TestLinesWaitForOlderOnes(t *testing.T) {
	s := newShown(1)
	s.begin()
	s.say("a", 105, "later")
	s.time = s.time.Add(window / 2)
	s.say("b", 101, "earlier")
	s.say("b", 109, "last")
	s.flush(s.time)
	require.Empty(t, s.took())
	s.time = s.time.Add(window / 2)
	s.flush(s.time)
	require.Equal(t, []string{"earlier", "later"}, s.took(), "what is older goes first, and does not wait itself")
	s.time = s.time.Add(window / 2)
	s.flush(s.time)
	require.Equal(t, []string{"last"}, s.took())
}

// A node's clock that was set back does not change the order in which an instance has said things.
func TestAnInstanceKeepsItsOrder(t *testing.T) {
	s := newShown(10)
	s.say("a", 105, "one")
	s.say("a", 101, "two")
	s.say("b", 103, "before both")
	s.say("a", 106, "three")
	s.begin()
	require.Equal(t, []string{"before both", "one", "two", "three"}, s.took())
}

// However much comes at once: it is bounded, whole, and each instance's in its order.
func TestWhatIsHeldIsBounded(t *testing.T) {
	s := newShown(1)
	s.begin()
	next := map[string]int{}
	total := 5 * maxHeld
	for range total {
		instance := string(rune('a' + rand.IntN(3)))
		s.say(instance, rand.Int64N(1000), fmt.Sprint(instance, next[instance]))
		next[instance]++
		require.LessOrEqual(t, len(s.held), maxHeld)
	}
	s.flush(time.Time{})
	texts, seen := s.took(), map[string]int{}
	require.Len(t, texts, total)
	for _, text := range texts {
		require.Equal(t, fmt.Sprint(text[:1], seen[text[:1]]), text)
		seen[text[:1]]++
	}
}

// Long lines are as few as it takes.
func TestTheTextThatIsHeldIsBounded(t *testing.T) {
	s := newShown(1)
	text := strings.Repeat("x", 64<<10)
	total := 3 * maxHeldBytes / len(text)
	s.begin()
	for n := range total {
		s.say("a", int64(n), text)
		require.LessOrEqual(t, s.size, maxHeldBytes)
	}
	s.flush(time.Time{})
	require.Len(t, s.took(), total)
	require.Zero(t, s.size)
}
