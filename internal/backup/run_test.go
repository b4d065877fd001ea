package backup

import (
	"reflect"
	"testing"
)

func TestCountsProve(t *testing.T) {
	good := Counts{Listed: 10, Stored: 4, Unchanged: 3, Skipped: 2, Gone: 1, Dropped: 7, Items: 9}
	if err := good.Prove(); err != nil {
		t.Error(err)
	}
	for _, part := range []string{"Listed", "Stored", "Unchanged", "Skipped", "Gone"} {
		bad := good
		reflect.ValueOf(&bad).Elem().FieldByName(part).SetInt(99)
		if !HasCode(bad.Prove(), CodeCountsMismatch) {
			t.Errorf("a wrong %s is proved: %+v", part, bad)
		}
	}
}

// Every field takes part in a sum: one that is forgotten would vanish from every report.
func TestCountsAdd(t *testing.T) {
	var one, sum Counts
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(int64(i + 1))
	}
	sum.Add(one)
	sum.Add(one)
	for i := range v.NumField() {
		if got := reflect.ValueOf(sum).Field(i).Int(); got != int64(2*(i+1)) {
			t.Errorf("%s is %d after two additions of %d", v.Type().Field(i).Name, got, i+1)
		}
	}
}

func TestJudgeRun(t *testing.T) {
	proved := Counts{Listed: 2, Stored: 2}
	for name, c := range map[string]struct {
		run  Run
		want RunOutcome
		code Code
	}{
		"all done":                  {run: Run{Parts: 3, Done: 3, Counts: proved}, want: RunComplete},
		"without a mailbox is done": {run: Run{Parts: 3, Done: 2, NoService: 1, Counts: proved}, want: RunComplete},
		"nobody to protect":         {run: Run{}, want: RunFailed, code: CodeEmptyListing},
		"some failed":               {run: Run{Parts: 3, Done: 2, Failed: 1, Counts: proved}, want: RunPartial},
		"all failed":                {run: Run{Parts: 3, Failed: 3}, want: RunFailed},
		"some never finished":       {run: Run{Parts: 3, Done: 2, Counts: proved}, want: RunFailed, code: CodeInternal},
		"counts that do not add up": {run: Run{Parts: 3, Done: 3, Counts: Counts{Listed: 2, Stored: 1}}, want: RunFailed, code: CodeCountsMismatch},
	} {
		got, err := JudgeRun(c.run)
		if got != c.want || c.code == "" && err != nil || c.code != "" && !HasCode(err, c.code) {
			t.Errorf("%s: %s, %v; want %s %s", name, got, err, c.want, c.code)
		}
	}
}
