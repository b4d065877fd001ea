package graph

import "crypto/tls"

func clientTLS(s *Server) *tls.Config { return &tls.Config{RootCAs: s.CA().Pool()} }
