package backup

import "testing"

func TestCheckOfAMergeDecision(t *testing.T) {
	good := MergeDecision{Directory: "ldap", EntryID: "e1", Verdict: MergeSame, Account: "a1", By: "anna"}
	for name, c := range map[string]struct {
		change func(*MergeDecision)
		want   Code
	}{
		"same":                  {func(*MergeDecision) {}, ""},
		"separate":              {func(d *MergeDecision) { d.Verdict, d.Account = MergeSeparate, "" }, ""},
		"ignore":                {func(d *MergeDecision) { d.Verdict, d.Account = MergeIgnore, "" }, ""},
		"no entry":              {func(d *MergeDecision) { d.EntryID = "" }, CodeNotAllowed},
		"no directory":          {func(d *MergeDecision) { d.Directory = "" }, CodeNotAllowed},
		"nobody":                {func(d *MergeDecision) { d.By = "" }, CodeUnknownPrincipal},
		"another verdict":       {func(d *MergeDecision) { d.Verdict = "perhaps" }, CodeNotAllowed},
		"same as whom":          {func(d *MergeDecision) { d.Account = "" }, CodeNotAllowed},
		"separate, and account": {func(d *MergeDecision) { d.Verdict = MergeSeparate }, CodeNotAllowed},
	} {
		d := good
		c.change(&d)
		check(t, name, d.Check(), c.want)
	}
}
