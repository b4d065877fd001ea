package microsoft365

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	// mostRedirects bounds the way to a content.
	mostRedirects = 4
	// mostResumes bounds how often one content is taken up again where it broke off.
	mostResumes = 8
)

// download is one file's content on its way here: it goes on where a body breaks off, asks for a new address when the old one has
// expired, and verifies what came.
type download struct {
	drive *drive
	ctx   context.Context
	id    string

	item    backup.Item // as it was when the content was opened
	address string      // pre-authenticated, valid for minutes
	body    *stream
	done    int64 // bytes handed out
	hash    quickXor
	resumes int
	end     error // what every further Read returns
}

// locate reads the item's metadata and with it a fresh address, which works without our token.
func (f *download) locate() error {
	var raw json.RawMessage
	if err := f.drive.client.ReadOnce(f.ctx, msgraph.Call{URL: f.drive.at("", "items", f.id)}, &raw); err != nil {
		return err
	}
	var i driveItem
	if err := msgraph.Entry(raw, &i); err != nil {
		return err
	}
	item, err := i.item(raw, f.drive.top())
	switch {
	case err != nil:
		return err
	case i.Deleted != nil:
		return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultVendor, Message: "the file is gone"}
	case item.Skip != "":
		return &backup.SkipError{Reason: item.Skip, Detail: "Microsoft 365 marks the file so"}
	case item.Kind == backup.Folder:
		return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultVendor, Message: "the file is a folder now"}
	case f.item.ID != "" && item.Version != f.item.Version:
		return msgraph.BadResponse("the file changed while it was read", nil)
	}
	f.item, f.address = item, i.Download
	return nil
}

// begin opens the content at the byte where the download stands. An address that is refused is replaced once.
func (f *download) begin() error {
	if f.item.Size == 0 {
		return nil // an empty file has neither hash nor content
	}
	err := f.fetch()
	var r *msgraph.Refusal
	if errors.As(err, &r) && !r.PerItem() && stale(r.Status) {
		if err := f.locate(); err != nil {
			return err
		}
		err = f.fetch()
	}
	if errors.As(err, &r) && !r.PerItem() && stale(r.Status) {
		// A new address is refused as well: not the file is closed, but the place that contents come from.
		return &backup.Error{Code: backup.CodeFenced, Fault: backup.FaultCustomer, Message: "Microsoft 365 lets the app see the drive and refuses the contents", Cause: r,
			Hint: "check the tenant's network and conditional access rules for SharePoint, and the worker's way out"}
	}
	return err
}

// stale are the answers of an address that is no longer good.
func stale(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	}
	return false
}

// fetch follows the checked way to the content. Only the first step may go to Graph, with our token; every other address carries its
// own authorization.
func (f *download) fetch() error {
	next := msgraph.Call{URL: f.address, Bare: true, Identity: true, From: f.done}
	if f.address == "" {
		next = msgraph.Call{URL: f.drive.at("", "items", f.id, "content"), Identity: true, From: f.done}
	}
	for range mostRedirects {
		if next.Bare {
			if err := f.drive.client.endpoints.checkDownload(next.URL); err != nil {
				return msgraph.BadConfig(err.Error(), "if the host belongs to your Microsoft cloud, add it to downloadHosts")
			}
		}
		s, err := f.drive.client.openStream(f.ctx, next)
		if err != nil {
			return err
		}
		location, moved := redirect(s.answer)
		if !moved {
			return f.accept(s)
		}
		s.Close()
		next = msgraph.Call{URL: location, Bare: true, Identity: true, From: f.done}
	}
	return msgraph.BadResponse("a content is redirected again and again", nil)
}

// redirect tells where an answer sends on to, as an absolute address.
func redirect(resp *http.Response) (string, bool) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return "", false
	}
	location, err := resp.Location()
	if err != nil {
		location = &url.URL{}
	}
	return location.String(), true
}

// accept takes an opened body over, at the right byte: a server may answer a range with everything.
func (f *download) accept(s *stream) error {
	var err error
	switch {
	case s.answer.StatusCode == http.StatusOK:
		_, err = io.CopyN(io.Discard, s, f.done)
	case s.answer.StatusCode == http.StatusPartialContent && f.done > 0:
		var from int64
		if _, scan := fmt.Sscanf(s.answer.Header.Get("Content-Range"), "bytes %d-", &from); scan != nil || from != f.done {
			err = msgraph.BadResponse("a content was resumed at the wrong place", nil)
		}
	default:
		err = msgraph.BadResponse(fmt.Sprintf("a content came with status %d", s.answer.StatusCode), nil)
	}
	if err == io.EOF {
		err = msgraph.BadResponse("a content became shorter while it was read", nil)
	}
	if err != nil {
		s.Close()
		return err
	}
	f.body = s
	return nil
}

// Read hands the content out. io.EOF means that length and hash agree with the metadata.
func (f *download) Read(p []byte) (int, error) {
	if f.end != nil {
		return 0, f.end
	}
	n, err := 0, io.EOF
	if f.body != nil {
		n, err = f.body.Read(p)
	}
	f.hash.Write(p[:n])
	f.done += int64(n)
	switch {
	case f.item.Size >= 0 && f.done > f.item.Size:
		f.end = f.drive.disagree(f.id, fmt.Sprintf("more than %d bytes came", f.item.Size))
	case err == io.EOF:
		f.end = cmp.Or(f.verify(), io.EOF)
	case err != nil:
		f.end = f.resume(err)
	}
	if n > 0 {
		return n, nil // the end, if there is one, is for the next Read
	}
	return 0, f.end
}

// resume goes on after a body broke off. It returns what ends the download, or nil.
func (f *download) resume(cause error) error {
	if f.ctx.Err() != nil {
		return context.Cause(f.ctx)
	}
	if f.resumes++; f.resumes > mostResumes {
		return cause
	}
	f.body.Close()
	f.body = nil
	return skipped(f.drive.client.Repeat(f.ctx, f.begin))
}

// verify compares what came with what was announced. When they differ, the metadata may be the older of the two: Office files
// change shortly after an upload, and hashes are made up for late.
func (f *download) verify() error {
	if f.matches(f.item) {
		f.drive.agree(f.id)
		return nil
	}
	announced := f.item
	f.item = backup.Item{}
	if err := f.drive.client.Repeat(f.ctx, f.locate); err != nil {
		return skipped(err)
	}
	if f.item.Hash != "" && f.matches(f.item) {
		f.drive.agree(f.id)
		return nil
	}
	return f.drive.disagree(f.id, fmt.Sprintf("%d of %d bytes, hash %s instead of %q", f.done, announced.Size, f.hash.sum(), announced.Hash))
}

// matches tells whether the bytes are those of the item, as far as it says.
func (f *download) matches(i backup.Item) bool {
	return (i.Size < 0 || i.Size == f.done) && (i.Hash == "" || i.Hash == f.hash.sum())
}

// Close ends the download.
func (f *download) Close() error {
	if f.body == nil {
		return nil
	}
	return f.body.Close()
}
