package buildpackstore

// Hearers is how many hear of a key's download.
func Hearers(s *Store, key string) int {
	s.hearers.mu.Lock()
	defer s.hearers.mu.Unlock()
	return len(s.hearers.all[key])
}
