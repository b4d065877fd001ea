package scim

import (
	"strings"

	filter "github.com/scim2/filter-parser/v2"
)

// matches tells whether an element of an attribute fits the filter of a PATCH path. Only elements of one resource are ever looked at here;
// lists are the store's to filter.
func matches(a attribute, element any, e filter.Expression) (bool, error) {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		left, err := matches(a, element, e.Left)
		if err != nil {
			return false, err
		}
		right, err := matches(a, element, e.Right)
		if e.Operator == filter.OR {
			return left || right, err
		}
		return left && right, err
	case *filter.NotExpression:
		fits, err := matches(a, element, e.Expression)
		return !fits, err
	case *filter.AttributeExpression:
		return compareElement(a, element, e)
	}
	return false, badPath("The brackets after %s hold a form that is not supported.", a.text())
}

func compareElement(a attribute, element any, e *filter.AttributeExpression) (bool, error) {
	p, err := part(a, e)
	if err != nil {
		return false, err
	}
	f, err := comparison(p, e)
	if err != nil {
		return false, err
	}
	object, _ := element.(map[string]any)
	value, there := object[p.sub.Name()]
	if f.Not != nil || e.Operator == filter.PR || e.CompareValue == nil {
		return there == (f.Not == nil), nil
	}
	has, err := compared(*p.sub, value)
	if !there || err != nil {
		// A flag that is not there is not set.
		return !there && p.sub.AttributeType() == "boolean" && (f.Text == "false") == (e.Operator == filter.EQ), nil
	}
	return holds(e.Operator, has, f.Text), nil
}

func holds(op filter.CompareOperator, has, want string) bool {
	switch op {
	case filter.EQ:
		return has == want
	case filter.NE:
		return has != want
	case filter.CO:
		return strings.Contains(has, want)
	case filter.SW:
		return strings.HasPrefix(has, want)
	case filter.EW:
		return strings.HasSuffix(has, want)
	case filter.GT:
		return has > want
	case filter.GE:
		return has >= want
	case filter.LT:
		return has < want
	}
	return has <= want
}

// equalities are the parts that an element must have to fit, when a filter consists of nothing but those; ok is false otherwise. From them an
// element is made that is to be replaced and is not there (Entra expects that). One that is sought by its value cannot be made.
func equalities(a attribute, e filter.Expression) (map[string]any, bool) {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		left, ok := equalities(a, e.Left)
		right, ok2 := equalities(a, e.Right)
		if !ok || !ok2 || e.Operator != filter.AND {
			return nil, false
		}
		merge(left, right)
		return left, true
	case *filter.AttributeExpression:
		p, err := part(a, e)
		if err != nil || e.Operator != filter.EQ || p.sub.Name() == "value" {
			return nil, false
		}
		text, err := valueText(e)
		if err != nil {
			return nil, false
		}
		v, err := plainSingle(*p.sub, text)
		return map[string]any{p.sub.Name(): v}, err == nil && v != nil
	}
	return nil, false
}
