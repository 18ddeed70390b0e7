package wandbtest

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// URL is a base URL for clients of InMemory. Any host does: all lead there.
const URL = "http://wandb.standin"

// InMemory serves s without a port: the client's connections lead to it,
// whatever their address. stop ends both. Nothing of it waits for the outside
// world, so all of it may be in a testing/synctest bubble.
func (s *Server) InMemory() (client *http.Client, stop func()) {
	l := &listener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: s} //nolint:gosec // it serves tests: nobody is slow on purpose but the tests
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // always says that it was closed
	}()
	transport := &http.Transport{DialContext: l.dial, DisableCompression: true}
	return &http.Client{Transport: transport}, func() {
		s.Close()
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	}
}

// listener accepts the other ends of the pipes that dial makes.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "standin", Net: "pipe"} }
