package scratch

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkContainer is what a container costs: Make, Limit, Usage and Remove.
func BenchmarkContainer(b *testing.B) {
	for _, v := range variants() {
		b.Run(v.name, func(b *testing.B) {
			s := newStore(b, v)
			for i := 0; b.Loop(); i++ {
				id := fmt.Sprintf("c%d", i)
				s.make(b, id)
				_ = s.Limit(b.Context(), id, 64*mib, 0)
				_, _, err := s.Usage(b.Context(), id)
				require.NoError(b, err)
				require.NoError(b, s.Remove(b.Context(), id))
			}
		})
	}
}

// BenchmarkOpen is what an empty store costs at the server's start and end, mkfs included where there is one.
func BenchmarkOpen(b *testing.B) {
	for _, v := range variants() {
		b.Run(v.name, func(b *testing.B) {
			s := newStore(b, v)
			for b.Loop() {
				require.NoError(b, s.Close())
				s.open(b)
			}
		})
	}
}

// BenchmarkSteps is what each step costs beside many other containers.
func BenchmarkSteps(b *testing.B) {
	const others = 200
	steps := []struct {
		name string
		do   func(s *testStore, id string) error
	}{
		{"make", func(s *testStore, id string) error { _, err := s.Make(b.Context(), id); return err }},
		{"limit", func(s *testStore, id string) error { return s.Limit(b.Context(), id, 64*mib, 0) }},
		{"usage", func(s *testStore, id string) error { _, _, err := s.Usage(b.Context(), id); return err }},
		{"open", func(s *testStore, id string) error { _, err := s.Open(b.Context(), id); return err }},
		{"remove", func(s *testStore, id string) error { return s.Remove(b.Context(), id) }},
	}
	for _, v := range variants() {
		for _, step := range steps {
			b.Run(v.name+"/"+step.name, func(b *testing.B) {
				s := newStore(b, v)
				for i := range others {
					s.make(b, fmt.Sprintf("other%d", i))
				}
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					id := fmt.Sprintf("c%d", i)
					require.NoError(b, s.Remove(b.Context(), id))
					s.make(b, id)
					if step.name == "make" {
						require.NoError(b, s.Remove(b.Context(), id))
					}
					b.StartTimer()
					require.NoError(b, step.do(s, id))
				}
			})
		}
	}
}
