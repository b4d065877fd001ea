package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newConnectorStatus() *cobra.Command {
	var keyFile, folder string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the connector on this machine stands",
		Long: `Say how the connector on this machine stands: whether it runs and is connected, what it holds, what it released. It reads what the
connector writes of itself, so that no passphrase is needed. Ends with 1 when the connector does not run or is not connected.`,
		Example: `  holdfastd connector status --key-file /var/lib/holdfast-connector/connector.key
  holdfastd connector status --key-file connector.key --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keyFile == "" && folder == "" {
				return &usageError{fmt.Errorf("give --key-file or --folder, as the connector was started with")}
			}
			s, err := connector.ReadStatus(connectorFolder(keyFile, folder))
			if err != nil {
				return err
			}
			running := time.Since(s.Written) < connector.StatusStale && (keyFile == "" || connector.KeyFileInUse(keyFile))
			return showStatus(cmd.OutOrStdout(), s, asJSON, running)
		},
	}
	cmd.Flags().StringVar(&keyFile, "key-file", "", "the key file that the connector was started with")
	cmd.Flags().StringVar(&folder, "folder", "", "its folder, when it was started with one")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// statusReply is a status as the file has it, and whether anybody stands behind it.
type statusReply struct {
	Running bool `json:"running"`
	connector.Status
}

func showStatus(out io.Writer, s connector.Status, asJSON, running bool) error {
	reply := statusReply{Running: running, Status: s}
	if !reply.Running {
		reply.Connected = false
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(reply); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintln(out, reply); err != nil {
		return err
	}
	switch {
	case !reply.Running:
		return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Message: "the connector does not run", Hint: "start it, for example: systemctl start holdfast-connector"}
	case !reply.Connected:
		return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Message: "the connector is not connected", Hint: "its log says what it waits for"}
	}
	return nil
}

func (r statusReply) String() string {
	line := fmt.Sprintf("connector %s of %s · %s", r.Connector, r.Tenant, r.Status)
	if r.Memory != "" {
		line += " · memory " + r.Memory
	}
	if !r.Running {
		line += " · not running: last heard of at " + r.Written.Format(time.DateTime)
	}
	return line
}
