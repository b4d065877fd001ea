package connector

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const proxiedKeyFile = "HOLDFAST_TEST_KEY_FILE"

// TestTheAgentGoesThroughTheProxy runs an agent in a process of its own, because a process reads its proxy settings once. The
// gateway's name cannot be resolved, so only the proxy can reach it.
func TestTheAgentGoesThroughTheProxy(t *testing.T) {
	r := newRig(t, newMemory())
	cert, err := r.ca.Issue("gateway.test")
	must(t, err)
	server := httptest.NewUnstartedServer(r.gateway)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	defer server.Close()
	asked := make(chan string, 100)
	proxy := httptest.NewServer(connectProxy(server.Listener.Addr().String(), asked))
	defer proxy.Close()

	k := r.key("hq")
	k.Gateway = "https://gateway.test"
	path := filepath.Join(t.TempDir(), "connector.json")
	must(t, k.Create(path, nil))
	agent := exec.Command(os.Args[0], "-test.run=^TestRunAgentForProxy$")
	agent.Env = append(os.Environ(), "HTTPS_PROXY="+proxy.URL, "NO_PROXY=", proxiedKeyFile+"="+path)
	must(t, agent.Start())
	defer func() { _ = agent.Process.Kill(); _ = agent.Wait() }()
	r.eventually("the agent is connected", func() bool { return r.broker().Reachable(t.Context(), r.tenant, r.one()) == nil })
	if host := <-asked; host != "gateway.test:443" {
		t.Fatalf("the proxy was asked for %s", host)
	}
	_, err = r.release(r.broker())
	must(t, err)
}

// TestRunAgentForProxy is the other process; by itself it does nothing.
func TestRunAgentForProxy(t *testing.T) {
	path := os.Getenv(proxiedKeyFile)
	if path == "" {
		return
	}
	keys, err := OpenKeyStore(path, KeyStoreOptions{})
	must(t, err)
	a, err := NewAgent(AgentOptions{Keys: keys, Folder: t.TempDir()})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a.Run(ctx)
}

// connectProxy tunnels every CONNECT to one address.
func connectProxy(to string, asked chan<- string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked <- q.Host
		far, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			far.Close()
			return
		}
		join(near, far)
	})
}

// join copies both ways until either side closes.
func join(a, b net.Conn) {
	var copying sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		copying.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			a.Close()
			b.Close()
		})
	}
	copying.Wait()
}
