package initproc

import (
	"encoding/json"
	"net"
	"sync"
)

// peer is a wardend that is connected. What is sent to it never blocks the init: it is queued, and news of a job's
// output is joined with earlier news of the same job that was not yet sent.
type peer struct {
	conn net.Conn

	mu      sync.Mutex
	changed *sync.Cond
	queue   []reply
	watched map[uint32]bool
	news    map[uint32]bool
	writing bool
	closed  bool
}

func newPeer(conn net.Conn) *peer {
	p := &peer{conn: conn, watched: map[uint32]bool{}, news: map[uint32]bool{}}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (p *peer) send(r reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.queue = append(p.queue, r)
		p.changed.Broadcast()
	}
}

func (p *peer) watch(job uint32, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.watched[job] = true
	} else {
		delete(p.watched, job)
		delete(p.news, job)
	}
}

// output tells the peer that a job has more output, if it wants to know.
func (p *peer) output(job uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watched[job] && !p.closed {
		p.news[job] = true
		p.changed.Broadcast()
	}
}

// write sends what is queued until the peer is closed.
func (p *peer) write() {
	encoder := json.NewEncoder(p.conn)
	for {
		batch := p.next()
		if batch == nil {
			return
		}
		for _, r := range batch {
			if encoder.Encode(r) != nil {
				p.close()
				return
			}
		}
	}
}

func (p *peer) next() []reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = false
	p.changed.Broadcast()
	for len(p.queue) == 0 && len(p.news) == 0 && !p.closed {
		p.changed.Wait()
	}
	if p.closed {
		return nil
	}
	batch := p.queue
	for job := range p.news {
		batch = append(batch, reply{Output: job})
	}
	p.queue = nil
	clear(p.news)
	p.writing = true
	return batch
}

// flush waits until everything is sent.
func (p *peer) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && (len(p.queue) > 0 || p.writing) {
		p.changed.Wait()
	}
}

func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
	_ = p.conn.Close()
}
