package backup

// Check refuses a decision that cannot be meant: one without an entry, a verdict or a person, or with an account where none belongs.
func (d MergeDecision) Check() error {
	problem, hint := "", "holdfast inbox shows how a conflict is decided"
	switch {
	case d.Directory == "" || d.EntryID == "":
		problem = "the decision does not say which entry of which directory it is about"
	case d.By == "":
		return &Error{Code: CodeUnknownPrincipal, Fault: FaultCustomer, Message: "the decision does not say who made it", Hint: "set by, for example --by anna@acme.example"}
	case d.Verdict != MergeSame && d.Verdict != MergeSeparate && d.Verdict != MergeIgnore:
		problem = "there is no decision " + string(d.Verdict)
		hint = "same (with an account), separate or ignore"
	case d.Verdict == MergeSame && d.Account == "":
		problem, hint = "an entry that is somebody known needs that account", "name one of the candidates"
	case d.Verdict != MergeSame && d.Account != "":
		problem, hint = "the decision "+string(d.Verdict)+" takes no account", "leave the account out, or decide same"
	default:
		return nil
	}
	return &Error{Code: CodeNotAllowed, Fault: FaultCustomer, Message: problem, Hint: hint}
}
