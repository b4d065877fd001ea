package devserver_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/holdfast-backup/holdfast/internal/devserver"
)

// A server keeps its workflows over a stop and a start.
func TestStateSurvivesARestart(t *testing.T) {
	db := filepath.Join(t.TempDir(), "temporal.db")
	var log bytes.Buffer
	s, err := devserver.Start(t.Context(), devserver.Options{Database: db, Log: &log})
	if err != nil {
		t.Fatal(err, log.String())
	}
	page, err := http.Get(s.WebUI)
	if err != nil || page.StatusCode != http.StatusOK {
		t.Errorf("the Web UI answers %v, %v", page, err)
	} else {
		page.Body.Close()
	}
	c := dial(t, s)
	if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "w1", TaskQueue: "q"}, "W"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.Stop()

	s, err = devserver.Start(t.Context(), devserver.Options{Database: db, UIPort: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	c = dial(t, s)
	defer c.Close()
	d, err := c.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: s.Namespace})
	if err != nil || d.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration() != 30*24*time.Hour {
		t.Errorf("retention is %v, %v", d.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration(), err)
	}
	if _, err := c.DescribeWorkflowExecution(t.Context(), "w1", ""); err != nil {
		t.Errorf("the workflow is gone after a restart: %v", err)
	}
}

// A server ends when the process that started it is killed and could not stop it.
func TestEndsWithItsParent(t *testing.T) {
	if os.Getenv("DEVSERVER_PARENT") != "" {
		s, err := devserver.Start(t.Context(), devserver.Options{UIPort: -1})
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("address " + s.Address + "\n")
		select {}
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestEndsWithItsParent$")
	parent.Env = append(os.Environ(), "DEVSERVER_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "address "))
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		c, err := client.NewLazyClient(client.Options{HostPort: address})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.CheckHealth(t.Context(), &client.CheckHealthRequest{})
		c.Close()
		if err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server outlives its parent")
		}
	}
}

func TestSaysWhatToDoWhenItIsNotBuilt(t *testing.T) {
	t.Setenv("HOLDFAST_TEMPORAL_SERVER", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := devserver.Locate(); err == nil || !strings.Contains(err.Error(), "make temporal-server") {
		t.Fatalf("got %v", err)
	}
}

func dial(t *testing.T, s *devserver.Server) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: s.Address, Namespace: s.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
