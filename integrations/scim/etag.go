package scim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// noVersion is a version that nothing has.
const noVersion = -1

// etag is the weak entity tag of a version: equal tags mean the same content, not the same bytes.
func etag(version int64) string { return fmt.Sprintf(`W/"%d"`, version) }

// tags reads If-Match or If-None-Match. any: it is *, which every version fits.
func tags(header string) (versions []int64, any bool) {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return nil, true
		}
		tag = strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
		n, err := strconv.ParseInt(tag, 10, 64)
		if err != nil || n <= 0 {
			n = noVersion
		}
		versions = append(versions, n)
	}
	return versions, false
}

// ifMatch is the version that a change is allowed of; 0: of any. Of several tags the one counts that current returns.
func (q *request) ifMatch(current func() (int64, error)) (int64, error) {
	header := q.r.Header.Get("If-Match")
	if header == "" {
		return 0, nil
	}
	versions, any := tags(header)
	if any {
		return 0, nil
	}
	if len(versions) == 1 {
		return versions[0], nil
	}
	now, err := current()
	if err != nil {
		return 0, err
	}
	for _, v := range versions {
		if v == now {
			return v, nil
		}
	}
	return noVersion, nil
}

// notModified answers 304 when the peer has this version.
func (q *request) notModified(version int64) bool {
	header := q.r.Header.Get("If-None-Match")
	if header == "" {
		return false
	}
	versions, any := tags(header)
	for _, v := range versions {
		any = any || v == version
	}
	if any {
		q.w.Header().Set("ETag", etag(version))
		q.w.WriteHeader(http.StatusNotModified)
	}
	return any
}
