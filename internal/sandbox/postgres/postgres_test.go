package postgres

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCommittedDataSurvivesACrash(t *testing.T) {
	ca, err := sandbox.NewCA("sandbox")
	must(t, err)
	s := start(t, Options{CA: ca, Settings: map[string]string{"max_connections": "20"}})
	must(t, s.Exec(t.Context(), `CREATE TABLE kept AS SELECT 1 AS n`))
	must(t, s.Kill())
	if err := s.Exec(t.Context(), `SELECT 1`); err == nil {
		t.Error("a killed server answers")
	}
	must(t, s.Restart(t.Context()))
	must(t, s.Exec(t.Context(), `INSERT INTO kept SELECT n + 1 FROM kept`))
}

func TestNobodyComesInWithoutThePassword(t *testing.T) {
	s := start(t, Options{})
	must(t, s.CreateDatabase(t.Context(), "one", ""))
	t.Setenv("PGPASSWORD", "wrong")
	c, err := pgx.Connect(t.Context(), "postgres://"+User+"@"+s.Address+"/one?sslmode=disable")
	if err == nil {
		t.Error("a wrong password was taken", c.Close(t.Context()))
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	s, err := Start(t.Context(), Options{})
	must(t, err)
	pid, folder := s.running.cmd.Process.Pid, s.folder
	must(t, s.Close())
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestStartThatIsCalledOffLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx, Options{}); err == nil {
		t.Error("it started", s.Close())
	}
}
