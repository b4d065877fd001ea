package backup

import "testing"

func TestJudgeImport(t *testing.T) {
	for name, c := range map[string]struct {
		counts ImportCounts
		limits RemovalThreshold
		want   ImportVerdict
	}{
		"first import":                       {counts: ImportCounts{Listed: 25, Added: 25}, want: ImportApply},
		"nobody listed, nobody known":        {want: ImportRefuse},
		"nobody listed, somebody known":      {counts: ImportCounts{KnownActive: 1, Vanished: 1, Leaving: 1}, want: ImportRefuse},
		"nobody known, everybody left":       {counts: ImportCounts{Listed: 3, KnownActive: 0, Leaving: 0}, want: ImportApply},
		"under the count, all of a few":      {counts: ImportCounts{Listed: 1, KnownActive: 5, Leaving: 5}, want: ImportApply},
		"over the count, under the percent":  {counts: ImportCounts{Listed: 94, KnownActive: 100, Leaving: 6}, want: ImportApply},
		"exactly the percent":                {counts: ImportCounts{Listed: 90, KnownActive: 100, Leaving: 10}, want: ImportApply},
		"over both":                          {counts: ImportCounts{Listed: 89, KnownActive: 100, Leaving: 11}, want: ImportApprove},
		"newly disabled count as leaving":    {counts: ImportCounts{Listed: 100, KnownActive: 100, Disabled: 50, Leaving: 50}, want: ImportApprove},
		"own limits, under":                  {counts: ImportCounts{Listed: 60, KnownActive: 100, Leaving: 40}, limits: RemovalThreshold{Percent: 50, Count: 1}, want: ImportApply},
		"own limits, over":                   {counts: ImportCounts{Listed: 1, KnownActive: 3, Leaving: 2}, limits: RemovalThreshold{Percent: 50, Count: 1}, want: ImportApprove},
		"a large company, one percent leave": {counts: ImportCounts{Listed: 99000, KnownActive: 100000, Leaving: 1000}, want: ImportApply},
	} {
		if got, why := JudgeImport(ImportDifference{Mode: FullRead, Counts: c.counts}, c.limits, false); got != c.want || (why == "") != (c.want == ImportApply) {
			t.Errorf("%s: %s (%q), want %s", name, got, why, c.want)
		}
	}
}

// TestJudgePush: nobody is an answer of a directory that is pushed only as long as nobody is known.
func TestJudgePush(t *testing.T) {
	for name, c := range map[string]struct {
		counts  ImportCounts
		approve bool
		want    ImportVerdict
	}{
		"nobody yet":             {ImportCounts{}, false, ImportApply},
		"nobody yet, to approve": {ImportCounts{}, true, ImportRefuse},
		"nobody any more":        {ImportCounts{KnownActive: 3, Leaving: 3}, false, ImportRefuse},
		"the first":              {ImportCounts{Listed: 2, Added: 2}, false, ImportApply},
		"the first, to approve":  {ImportCounts{Listed: 2, Added: 2}, true, ImportConfirm},
		"as many leave as may":   {ImportCounts{Listed: 15, KnownActive: 20, Leaving: 5}, false, ImportApply},
		"more leave than may":    {ImportCounts{Listed: 14, KnownActive: 20, Leaving: 6}, false, ImportApprove},
	} {
		if got, _ := JudgePush(ImportDifference{Mode: FullRead, First: true, Counts: c.counts}, RemovalThreshold{}, c.approve); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Nobody is an answer of a retired directory, and whoever leaves by it is approved, were it one.
func TestJudgeRetired(t *testing.T) {
	for leaving, want := range map[int]ImportVerdict{0: ImportApply, 1: ImportApprove, 1000: ImportApprove} {
		if got, why := JudgeRetired(ImportDifference{Mode: FullRead, Counts: ImportCounts{KnownActive: 1000, Vanished: 1000, Leaving: leaving}}); got != want || (why == "") != (want == ImportApply) {
			t.Errorf("%d leave: %s (%q)", leaving, got, why)
		}
	}
}
