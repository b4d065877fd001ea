package ldap

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// accountDisable is bit 2 of userAccountControl ([MS-ADTS] 2.2.16).
	accountDisable = 0x2
	// lockedForGood is set by an administrator. Any other time is a lock after wrong passwords, which passes: such a person is
	// not gone (draft-behera-ldap-password-policy, section 5.3.3).
	lockedForGood = "000001010000Z"
	// fileTimeEpoch is 1970 as accountExpires counts: in units of 100 ns since 1601 ([MS-DTYP] 2.3.3).
	fileTimeEpoch = 116_444_736_000_000_000
	fileTimeUnits = int64(time.Second / (100 * time.Nanosecond)) // in a second
	secondsPerDay = 24 * 60 * 60
)

// disabled tells whether the account is closed: by an administrator, or because its day has come.
func (v *view) disabled(now time.Time) bool {
	locked := string(v.first(slotLocked)) == lockedForGood || strings.EqualFold(string(v.first(slotAccountLock)), "true")
	off := v.number(slotControl)&accountDisable != 0
	return locked || off || v.marked() || v.expired(now)
}

// marked tells whether the configured attribute has the configured value.
func (v *view) marked() bool {
	if a := v.attribute(slotDisabled); a != nil {
		for value := range a.all() {
			if strings.EqualFold(strings.TrimSpace(string(value)), v.r.names.DisabledValue) {
				return true
			}
		}
	}
	return false
}

// expired looks at accountExpires, in which 0 and the largest number are never, and at shadowExpire, in days since 1970, in which 0 means
// different things to different programs and is taken for never, like what is negative (shadow(5)).
func (v *view) expired(now time.Time) bool {
	if at := v.number(slotExpires); at > 0 && at != math.MaxInt64 && (at-fileTimeEpoch)/fileTimeUnits <= now.Unix() {
		return true
	}
	days := v.number(slotShadow)
	return days > 0 && days < math.MaxInt64/secondsPerDay && days*secondsPerDay <= now.Unix()
}

// number reads a slot; one that is not there, or is not a number, is 0: who may be disabled is backed up.
func (v *view) number(slot int) int64 {
	value := v.first(slot)
	if len(value) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(value[:min(len(value), 32)]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// kind reads what Exchange says of the mailbox, here or in the cloud.
func (v *view) kind() backup.EntryKind {
	switch v.number(slotRecipient) {
	case 1 << 2, 1 << 35:
		return backup.SharedMailbox
	case 1 << 4, 1 << 33:
		return backup.RoomMailbox
	case 1 << 5, 1 << 34:
		return backup.ResourceMailbox
	}
	return ""
}
