// Package drain sends what instances write to their output on to the syslog drains of their services.
//
//	             Begin, Live                               Finish
//	                  |                                       |
//	                  v                                       v
//	logs/*.log --> follower -- records --> connection      the rest is sent, for finishTime at most; then its
//	                  ^                        |           position is kept until Forget
//	                  |                        v
//	              position <--- what the drain has taken     (in base_dir/drains, for the next worker)
//
// No app waits for a drain: its lines are in files first, and are read from there. Each drain of each instance has a
// goroutine, a reader, a connection and a position of its own, so that a slow one holds nobody else up. What is in memory of
// one is bounded by what one read returns, applog.MaxRead, and what is sent at once; one that says nothing has neither. How many
// are sent to at once is bounded by Options.Max.
//
// A drain that is away is tried again after a pause that grows, and the position stays where it is. What the log has lost
// meanwhile, and what has waited for longer than Options.MaxAge, is counted, said to the drain in a message of its own
// before the next line, and shown in Totals.
//
// Syslog has no answers. A line counts as taken when the kernel of the other side has acknowledged it and the connection
// was still whole for settleTime after; when a connection breaks, all after that is sent again over the next one. So lines
// arrive at least once and in order; again they come only after a break, and after a worker that was killed. Lost is what
// the other side had received and not yet read when it died, if that was longer ago than settleTime. Over UDP nothing is
// ever acknowledged: lost is what the network loses.
//
// A drain's URL is chosen by whoever may bind a service, and the worker is root on the node: where a connection leads is
// looked at when it is made, by its address, and what comes back over it is dropped.
package drain
