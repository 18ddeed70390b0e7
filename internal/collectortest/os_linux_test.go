package collectortest

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Between two collectors the address refuses connections, and its port is given
// to nobody who asks for any: here, to sockets that may have no other.
func TestTheAddressIsTheSites(t *testing.T) {
	addr, release, err := reserve()
	require.NoError(t, err)
	defer func() { assert.NoError(t, release()) }()
	_, text, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	var unsupported error
	onlyThat := func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(err, raw.Control(func(fd uintptr) {
			unsupported = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, port<<16|port)
		}))
	}
	server, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()

	for range 2 {
		_, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		listen := net.ListenConfig{Control: onlyThat}
		other, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if unsupported == nil { // since Linux 6.3
			require.ErrorIs(t, err, syscall.EADDRINUSE, "whoever listens at any port")
			from := net.Dialer{Control: onlyThat}
			_, err = from.DialContext(t.Context(), "tcp", server.Addr().String())
			require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "whoever connects from any port")
		} else {
			require.NoError(t, err)
			require.NoError(t, other.Close())
		}

		collector, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		require.NoError(t, err)
		_, err = new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		require.ErrorIs(t, err, syscall.EADDRINUSE, "one at a time")
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		require.NoError(t, err)
		require.NoError(t, errors.Join(conn.Close(), collector.Close()))
	}
	require.NoError(t, release())

	if unsupported == nil { // it is the reservation that kept it
		listen := net.ListenConfig{Control: onlyThat}
		other, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.Equal(t, addr, other.Addr().String())
		require.NoError(t, other.Close())
	}
}
