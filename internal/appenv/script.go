package appenv

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// maxPair is the most bytes that "NAME=value" may have: Linux refuses to run a program with a longer string in its
// environment (MAX_ARG_STRLEN with its terminating zero).
const maxPair = 128*1024 - 1

// maxShownName bounds how much of a bad name an error repeats.
const maxShownName = 40

// Var is one variable of an environment.
type Var struct {
	Name  string
	Value string
	form  form
}

// form is how a value becomes bash.
type form int

const (
	// The zero form is a literal: byte for byte.
	_ form = iota
	// rooted: a path of the contract, beneath the container's root, which bash has in R.
	rooted
	// users: byte for byte but for references to other variables.
	users
)

var (
	nameShape      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	referenceShape = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)
)

// Fixed is an environment whose values are passed byte for byte, in the order of the names. Those that no shell can
// export are an error that repeats no value.
func Fixed[V ~string](values map[string]V) ([]Var, error) {
	vars := make([]Var, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := Var{Name: name, Value: string(values[name])}
		if err := v.check(); err != nil {
			return nil, err
		}
		vars = append(vars, v)
	}
	return vars, nil
}

// own is the user's environment.
func own(pairs []string) ([]Var, error) {
	vars := make([]Var, 0, len(pairs))
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			// What has no "=" may be a value that lost its name, and so a secret.
			return nil, fmt.Errorf("entry %d of the environment is not NAME=value", i+1)
		}
		v := Var{Name: name, Value: value, form: users}
		if err := v.check(); err != nil {
			return nil, err
		}
		vars = append(vars, v)
	}
	return vars, nil
}

func (v Var) check() error {
	switch {
	case !nameShape.MatchString(v.Name):
		shown := v.Name
		if len(shown) > maxShownName {
			shown = shown[:maxShownName] + "…"
		}
		return fmt.Errorf("%q is no name for an environment variable: it may hold letters, digits and '_', "+
			"and begins with no digit", shown)
	case strings.ContainsRune(v.Value, 0):
		return fmt.Errorf("the environment variable %s holds a zero byte", v.Name)
	case len(v.Name)+1+len(v.Value) > maxPair:
		return fmt.Errorf("the environment variable %s has %d bytes; %d are the most",
			v.Name, len(v.Value), maxPair-len(v.Name)-1)
	}
	return nil
}

// Script is bash that exports the variables in their order. It expects the container's root in R: empty, or a
// directory without a slash at its end. A variable of the user's may change R.
func Script(vars []Var) string {
	var b strings.Builder
	for _, v := range vars {
		b.WriteString("export ")
		b.WriteString(v.Name)
		b.WriteByte('=')
		switch v.form {
		case rooted:
			b.WriteString(`"$R"`)
			b.WriteString(quote(v.Value))
		case users:
			b.WriteString(quoteWithReferences(v.Value))
		default:
			b.WriteString(quote(v.Value))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func quote(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }

// quoteWithReferences makes one word of bash out of a value, in double quotes, in which nothing has a meaning but
// references to variables. A reference to a variable that is not set stays what it was: "-" in ${NAME-text}.
func quoteWithReferences(value string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(value); {
		rest := value[i:]
		switch {
		case strings.HasPrefix(rest, `\$`):
			b.WriteString(`\$`)
			i += 2
			continue
		case rest[0] == '$':
			if m := referenceShape.FindStringSubmatch(rest); m != nil {
				b.WriteString(reference(m))
				i += len(m[0])
				continue
			}
			b.WriteString(`\$`)
		case rest[0] == '"', rest[0] == '\\', rest[0] == '`':
			b.WriteByte('\\')
			b.WriteByte(rest[0])
		default:
			b.WriteByte(rest[0])
		}
		i++
	}
	b.WriteByte('"')
	return b.String()
}

// reference is bash for a match of referenceShape.
func reference(match []string) string {
	if name := match[1]; name != "" {
		return `${` + name + `-\$` + name + `}`
	}
	name := match[2]
	return `${` + name + `-\${` + name + `\}}`
}
