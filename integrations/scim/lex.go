package scim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	filter "github.com/scim2/filter-parser/v2"
)

// Limits of one filter, or of one path.
const (
	maxFilter      = 4 << 10 // bytes
	maxComparisons = 50
	maxParentheses = 10 // within each other
)

// expression is a filter as the library parsed it. What it has no grammar for is taken out before: each attribute with brackets is a
// placeholder in the text that the library gets, and an entry of groups.
type expression struct {
	filter.Expression
	groups []valueGroup
}

// valueGroup is attribute[inner], and in Entra's form attribute[inner].sub op value, which no RFC has: then has holds the comparison.
type valueGroup struct {
	attribute string
	inner     filter.Expression
	has       *filter.AttributeExpression
}

const placeholder = "holdfast-group-"

// groupOf returns the group that a placeholder stands for.
func (e expression) groupOf(a *filter.AttributeExpression) (valueGroup, bool) {
	n, ok := strings.CutPrefix(a.AttributePath.AttributeName, placeholder)
	if !ok {
		return valueGroup{}, false
	}
	i, err := strconv.Atoi(n)
	if err != nil || i >= len(e.groups) {
		return valueGroup{}, false
	}
	return e.groups[i], true
}

// parseFilter parses a filter, leniently: any white space, operators in any case, values without quotes.
func parseFilter(text string) (expression, error) {
	if len(text) > maxFilter {
		return expression{}, badFilter("The filter is longer than %d bytes.", maxFilter)
	}
	if !utf8.ValidString(text) {
		return expression{}, badFilter("The filter is not UTF-8.")
	}
	r := &rewriter{rest: text}
	plain, err := r.rewrite(0)
	if err != nil {
		return expression{}, err
	}
	parsed, err := filter.ParseFilterNumber([]byte(plain))
	if err != nil {
		return expression{}, badFilter("The filter %q is not understood: it must be like userName eq \"ada@example.com\", with and, or, not and parentheses.", excerpt(text))
	}
	return expression{parsed, r.groups}, nil
}

// rewriter makes a text of the library's grammar out of what peers send.
type rewriter struct {
	rest        string
	groups      []valueGroup
	comparisons int
	bracketed   bool // within brackets, where no others may be
}

// token is a word, a quoted string (Text is the JSON), one of ()[], or nothing at the end.
type token struct {
	text   string
	quoted bool
}

func (r *rewriter) next() (token, error) {
	r.rest = strings.TrimLeft(r.rest, " \t\r\n")
	if r.rest == "" {
		return token{}, nil
	}
	end := 1
	switch c := r.rest[0]; {
	case strings.IndexByte("()[]", c) >= 0:
	case c == '"':
		for end < len(r.rest) && r.rest[end] != '"' {
			if r.rest[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(r.rest) {
			return token{}, badFilter("A quotation mark is not closed in the filter.")
		}
		end++
	default:
		if end = strings.IndexAny(r.rest, " \t\r\n()[]\""); end < 0 {
			end = len(r.rest)
		}
	}
	t := token{r.rest[:end], r.rest[0] == '"'}
	r.rest = r.rest[end:]
	return t, nil
}

func (r *rewriter) peek() token {
	saved := r.rest
	t, err := r.next()
	r.rest = saved
	if err != nil {
		return token{}
	}
	return t
}

// rewrite reads a sequence of terms up to its end or the bracket that closes it, which it leaves.
func (r *rewriter) rewrite(depth int) (string, error) {
	if depth > maxParentheses {
		return "", badFilter("The filter has more than %d parentheses within each other.", maxParentheses)
	}
	var out []string
	for {
		term, err := r.term(depth)
		if err != nil {
			return "", err
		}
		out = append(out, term)
		switch t := r.peek(); strings.ToLower(t.text) {
		case "and", "or":
			_, _ = r.next()
			out = append(out, strings.ToLower(t.text))
		case "", ")", "]":
			return strings.Join(out, " "), nil
		default:
			return "", badFilter("After %q the filter must go on with and, or, or end.", excerpt(term))
		}
	}
}

func (r *rewriter) term(depth int) (string, error) {
	t, err := r.next()
	switch {
	case err != nil:
		return "", err
	case t.text == "(":
		return r.parenthesis(depth)
	case t.quoted || t.text == "" || strings.Contains(")]", t.text) || t.text == "[":
		return "", badFilter("The filter lacks an attribute before %q.", excerpt(t.text+r.rest))
	case strings.EqualFold(t.text, "not") && r.peek().text == "(":
		_, _ = r.next()
		inner, err := r.parenthesis(depth)
		return "not " + inner, err
	case strings.HasPrefix(strings.ToLower(t.text), placeholder):
		return "", badFilter("There is no attribute %q.", excerpt(t.text))
	case strings.HasPrefix(r.rest, "["):
		return r.group(t.text)
	}
	return r.comparison(t.text)
}

func (r *rewriter) parenthesis(depth int) (string, error) {
	inner, err := r.rewrite(depth + 1)
	if err != nil {
		return "", err
	}
	if t, _ := r.next(); t.text != ")" {
		return "", badFilter("A parenthesis is not closed in the filter.")
	}
	return "(" + inner + ")", nil
}

// comparison reads what follows an attribute's name.
func (r *rewriter) comparison(attribute string) (string, error) {
	if r.comparisons++; r.comparisons > maxComparisons {
		return "", badFilter("The filter has more than %d comparisons.", maxComparisons)
	}
	op, err := r.next()
	if err != nil {
		return "", err
	}
	operator := strings.ToLower(op.text)
	switch operator {
	case "pr":
		return attribute + " pr", nil
	case "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le":
	default:
		return "", badFilter("%q is no operator: use eq, ne, co, sw, ew, gt, ge, lt, le or pr.", excerpt(op.text))
	}
	v, err := r.next()
	if err != nil {
		return "", err
	}
	value, err := literal(v)
	return fmt.Sprintf("%s %s %s", attribute, operator, value), err
}

// literal writes a value so that the library's grammar takes it; what has no quotes and is no number, boolean or null is a string.
func literal(t token) (string, error) {
	text := t.text
	if t.quoted {
		if json.Unmarshal([]byte(t.text), &text) != nil {
			return "", badFilter("%s is no JSON string.", excerpt(t.text))
		}
		return quote(text), nil
	}
	switch lower := strings.ToLower(text); lower {
	case "", "(", ")", "[", "]":
		return "", badFilter("The filter lacks a value.")
	case "true", "false", "null":
		return lower, nil
	}
	return quote(text), nil
}

// quote is JSON of the few escapes that the library takes: \u with upper-case digits, for what is neither plain nor printable.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ':
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unquote reads a string as the library returns it: JSON without the quotation marks.
func unquote(raw string) (string, error) {
	var s string
	if err := json.Unmarshal([]byte(`"`+raw+`"`), &s); err != nil {
		return "", badFilter("A value of the filter is no JSON string.")
	}
	return s, nil
}

// group reads [inner], and .sub op value when that follows, and leaves a placeholder.
func (r *rewriter) group(attribute string) (string, error) {
	if r.bracketed {
		return "", badFilter("Brackets within brackets are not supported in a filter.")
	}
	g, err := r.brackets(attribute)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(r.rest, ".") {
		sub, err := r.next()
		if err != nil {
			return "", err
		}
		text, err := r.comparison(sub.text[1:])
		if err != nil {
			return "", err
		}
		has, err := filter.ParseAttrExpNumber([]byte(text))
		if err != nil {
			return "", badFilter("%q is not understood after %s[…].", excerpt(text), excerpt(attribute))
		}
		g.has = &has
	}
	r.groups = append(r.groups, g)
	return placeholder + strconv.Itoa(len(r.groups)-1) + " pr", nil
}

func (r *rewriter) brackets(attribute string) (valueGroup, error) {
	_, _ = r.next() // the bracket that opens
	r.bracketed = true
	defer func() { r.bracketed = false }()
	inner, err := r.rewrite(0)
	if err != nil {
		return valueGroup{}, err
	}
	if t, _ := r.next(); t.text != "]" {
		return valueGroup{}, badFilter("A bracket is not closed after %s.", excerpt(attribute))
	}
	parsed, err := filter.ParseFilterNumber([]byte(inner))
	if err != nil {
		return valueGroup{}, badFilter("%q is not understood within the brackets after %s.", excerpt(inner), excerpt(attribute))
	}
	return valueGroup{attribute: attribute, inner: parsed}, nil
}
