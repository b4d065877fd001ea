package vault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// commandsOf finds the commands of Vault's command line in a document, without what the shell does around them.
func commandsOf(document string) []string {
	var found []string
	document = strings.ReplaceAll(document, "\\\n", " ")
	for i, block := range strings.Split(document, "```") {
		if i%2 == 0 {
			continue // text between the blocks
		}
		for _, part := range strings.FieldsFunc(block, func(r rune) bool { return r == '\n' || r == ';' || r == '&' || r == '>' }) {
			if part = strings.Trim(part, " ()"); strings.HasPrefix(part, "vault ") {
				found = append(found, part)
			}
		}
	}
	return found
}

// The commands of deploy/vault/README.md, typed one after the other into a new server, make one that works.
func TestREADME(t *testing.T) {
	r := bareRig(t)
	folder := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(folder, "deploy", "vault", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	r.write("sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	said := map[string]string{}
	typed := 0
	for _, command := range commandsOf(string(text)) {
		typed++
		words := strings.Fields(command)
		in, arguments := map[string]any{}, []string{}
		for _, word := range words[2:] {
			name, value, ok := strings.Cut(word, "=")
			switch {
			case strings.HasPrefix(word, "-"):
			case ok:
				in[name] = value
			default:
				arguments = append(arguments, word)
			}
		}
		switch words[1] {
		case "secrets":
			r.write("sys/mounts/"+arguments[1], map[string]any{"type": arguments[1]})
		case "auth":
			r.write("sys/auth/"+arguments[1], map[string]any{"type": arguments[1]})
		case "policy":
			policy, err := os.ReadFile(filepath.Join(folder, arguments[2]))
			if err != nil {
				t.Fatal(err)
			}
			r.write("sys/policies/acl/"+arguments[1], map[string]any{"policy": string(policy)})
		case "write":
			out := r.write(arguments[0], in)
			if strings.HasSuffix(arguments[0], "/secret-id") {
				said[arguments[0]] = out.Data["secret_id"].(string)
			}
		case "read":
			said[arguments[0]] = r.read(arguments[0]).Data["role_id"].(string)
		case "delete":
			if _, err := r.root.Logical().DeleteWithContext(t.Context(), arguments[0]); err != nil {
				t.Fatal(command, err)
			}
		default:
			t.Fatalf("%s: this test does not know the command", command)
		}
	}
	if typed < 15 {
		t.Errorf("only %d commands were found", typed)
	}
	role := func(name string) backup.VaultLogin {
		base := "auth/approle/role/" + name
		id := said[base+"/role-id"]
		if id == "" {
			id = r.read(base + "/role-id").Data["role_id"].(string)
		}
		return backup.VaultLogin{Method: backup.LoginByAppRole, RoleID: id, SecretID: r.file(said[base+"/secret-id"])}
	}
	provisioning := role("holdfast-provisioning")
	tenant := backup.Tenant{ID: "acme", Repository: backup.RepositoryConfig{ID: "acme"}, Key: backup.KeyConfig{KMS: &backup.KMSConfig{
		Address: r.server.Address, CAFile: r.server.CAFile, Login: role("holdfast-worker"), Provisioning: &provisioning}}}
	create(t, r.transit(), tenant, 1)
}
