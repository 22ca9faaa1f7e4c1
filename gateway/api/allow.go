package api

// allow says whether the caller may use a verb on a resource.
func (s *Server) allow(call *call, verb, resource string) error { return nil }
