package network

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// median runs f b.N times and reports the median beside the mean.
func median(b *testing.B, f func(i int) time.Duration) {
	b.Helper()
	var took []time.Duration
	b.ResetTimer()
	for i := range b.N {
		took = append(took, f(i))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-µs")
	b.ReportMetric(0, "ns/op")
}

// withOthers runs a benchmark beside one and beside 200 other containers, each with a port and a rule.
func withOthers(b *testing.B, run func(b *testing.B, n *Network)) {
	b.Helper()
	needRoot(b)
	for _, others := range []uint32{1, 200} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			n := open(b, "b1", testPool())
			for i := range others {
				c := startNode(b)
				network := n.slotAt(1000 + i).network()
				require.NoError(b, n.Attach(b.Context(), network, c.pid()))
				require.NoError(b, n.NetIn(b.Context(), network, uint16(20000+i), 8080))
				require.NoError(b, n.NetOut(b.Context(), network, rule4(deniedAddress, tcp)))
			}
			run(b, n)
		})
	}
}

func since(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

func BenchmarkAttach(b *testing.B) {
	withOthers(b, func(b *testing.B, n *Network) {
		b.Helper()
		median(b, func(i int) time.Duration {
			b.StopTimer()
			c := startNode(b)
			network := n.slotAt(uint32(i % 900)).network()
			b.StartTimer()
			took := since(func() { require.NoError(b, n.Attach(b.Context(), network, c.pid())) })
			b.StopTimer()
			c.kill()
			require.NoError(b, n.Detach(b.Context(), network))
			b.StartTimer()
			return took
		})
	})
}

func BenchmarkDetach(b *testing.B) {
	for _, limited := range []bool{false, true} {
		b.Run(fmt.Sprintf("limited=%t", limited), func(b *testing.B) {
			withOthers(b, func(b *testing.B, n *Network) {
				b.Helper()
				median(b, func(i int) time.Duration {
					b.StopTimer()
					c := startNode(b)
					network := n.slotAt(uint32(i % 900)).network()
					require.NoError(b, n.Attach(b.Context(), network, c.pid()))
					require.NoError(b, n.NetIn(b.Context(), network, 61001, 8080))
					require.NoError(b, n.NetOut(b.Context(), network, rule4(deniedAddress, tcp)))
					if limited {
						require.NoError(b, n.LimitBandwidth(b.Context(), network, 10<<20, 1<<20))
					}
					c.kill()
					b.StartTimer()
					return since(func() { require.NoError(b, n.Detach(b.Context(), network)) })
				})
			})
		})
	}
}

func BenchmarkNetInAndNetOut(b *testing.B) {
	for _, what := range []string{"in", "out"} {
		b.Run(what, func(b *testing.B) {
			withOthers(b, func(b *testing.B, n *Network) {
				b.Helper()
				c := startNode(b)
				network := n.slotAt(0).network()
				require.NoError(b, n.Attach(b.Context(), network, c.pid()))
				rule := rule4(deniedAddress, tcp)
				median(b, func(i int) time.Duration {
					return since(func() {
						if what == "in" {
							require.NoError(b, n.NetIn(b.Context(), network, uint16(30000+i%30000), 8080))
							return
						}
						port := uint32(i%1000 + 1)
						rule.Port = &port
						require.NoError(b, n.NetOut(b.Context(), network, rule))
					})
				})
			})
		})
	}
}
