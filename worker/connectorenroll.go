package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// readToken reads the token from where the flag says: its own text, - for the input, @FILE for a file; nil when there is none.
func readToken(flag string, input io.Reader) (*backup.EnrolmentToken, error) {
	if flag == "" {
		return nil, nil
	}
	text := flag
	if path, inFile := strings.CutPrefix(flag, "@"); inFile || flag == "-" {
		if inFile {
			f, err := os.Open(path)
			if err != nil {
				return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the enrolment token's file cannot be opened", Hint: "look at " + path, Cause: err}
			}
			defer f.Close()
			input = f
		}
		b, err := io.ReadAll(io.LimitReader(input, 2*backup.MaxEnrolmentToken))
		if err != nil {
			return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the enrolment token cannot be read", Hint: "give it with --enroll @FILE", Cause: err}
		}
		text = string(b)
	}
	token, err := backup.ParseEnrolmentToken(text)
	if err != nil {
		return nil, err
	}
	return &token, nil
}

// openEnrolled makes the key file, unless a try before did, and shows the token. The file is on disk before the gateway hears of it, so
// that a connector which was killed in between is still the one that was admitted.
func (c connectorRun) openEnrolled(ctx context.Context, token backup.EnrolmentToken, log *zap.Logger) (*connector.KeyStore, error) {
	made, protector, err := c.ensureKeyFile(token)
	if err != nil {
		return nil, err
	}
	keys, err := openKeyStore(c.keyFile, protector)
	if err != nil {
		return nil, err
	}
	err = keys.Enroll(ctx, token, time.Now, log)
	switch {
	case err == nil:
		log.Info("the enrolment token was taken", zap.String("tenant", token.Tenant), zap.String("connector", token.Connector), zap.String("identity", keys.Identity()))
		return keys, nil
	case made && backup.HasCode(err, backup.CodeDenied):
		// Nobody has heard of this identity, and it holds no key: another token needs the name of the file.
		return nil, errors.Join(err, keys.Close(), os.Remove(c.keyFile), os.Remove(c.keyFile+".pub"))
	case !made && backup.HasCode(err, backup.CodeDenied):
		log.Warn("the enrolment token was not taken; this key file may have been admitted by it before, which the gateway says next", zap.Error(err))
		return keys, nil
	}
	return nil, errors.Join(err, keys.Close())
}

// ensureKeyFile tells whether it made the key file just now.
func (c connectorRun) ensureKeyFile(token backup.EnrolmentToken) (made bool, p connector.Protector, err error) {
	if _, err := os.Lstat(c.keyFile); !errors.Is(err, fs.ErrNotExist) {
		p, err = c.opener(c.keyFile)
		return false, p, err
	}
	if p, err = c.protector(true); err != nil {
		return false, nil, err
	}
	setup := connector.SetupOf(token)
	setup.EKeySource = c.ekeySource
	k, err := connector.NewKeyFile(setup)
	if err != nil {
		return false, nil, err
	}
	defer k.Wipe()
	if err := k.Create(c.keyFile, p); err != nil {
		return false, nil, err
	}
	return true, p, writePublic(c.keyFile, k.Identity())
}
