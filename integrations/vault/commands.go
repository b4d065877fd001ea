package vault

import (
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Without a provisioning login a person does what is to be done to transit keys. The commands below are exact: names in them were
// checked to be words of the shell.

// byHand is the wish for a person to type something and then try again.
func (e *engine) byHand(what string, commands ...string) error {
	environment := "export VAULT_ADDR=" + e.server.Address
	if e.server.Namespace != "" {
		environment += " VAULT_NAMESPACE=" + strings.Trim(e.server.Namespace, "/")
	}
	if e.server.CAFile != "" {
		environment += " VAULT_CACERT='" + strings.ReplaceAll(e.server.CAFile, "'", `'\''`) + "'"
	}
	lines := append([]string{environment}, commands...)
	return customer(backup.CodeBadConfig, e.server.says(what+", and there is no key.kms.provisioning login to do it with"),
		"type: "+strings.Join(lines, " && ")+" ; then try again")
}

func (e *engine) commandMake() string {
	return "vault write " + e.keyPath() + " type=" + keyType + " derived=true"
}

func (e *engine) commandRotate() string { return "vault write -f " + e.keyPath() + "/rotate" }

// commandLetPrepare gives the workers what making a generation takes when no provisioning login does it.
func (e *engine) commandLetPrepare() string {
	return "vault policy write holdfast-by-hand deploy/vault/holdfast-by-hand.hcl # and add that policy to the workers' login"
}

func (e *engine) commandRetire(version, latest int) string {
	command := fmt.Sprintf("vault write %s/config min_decryption_version=%d min_encryption_version=%d && vault write %s/trim min_available_version=%d",
		e.keyPath(), version+1, version+1, e.keyPath(), version+1)
	if latest <= version {
		command = e.commandRotate() + " && " + command
	}
	return command
}

func (e *engine) commandDestroy() string {
	return "vault write " + e.keyPath() + "/config deletion_allowed=true && vault delete " + e.keyPath()
}
