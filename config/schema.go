package config

import (
	"reflect"
	"strings"
	"time"
)

// The struct tags that make the schema:
//
//	yaml  the key
//	kind  path: a file name, made absolute
//	keys  the keys that a map may have; without it any
//	env   the environment variable, instead of DEA_ and the path
const (
	tagKey   = "yaml"
	tagKind  = "kind"
	tagKeys  = "keys"
	tagEnv   = "env"
	kindPath = "path"

	envPrefix = "DEA_"
)

var (
	typeDuration = reflect.TypeFor[time.Duration]()
	typeSecret   = reflect.TypeFor[Secret]()
	typeURL      = reflect.TypeFor[URL]()
)

// isHidden says whether values of the type must not be quoted in an error.
func isHidden(t reflect.Type) bool { return t == typeSecret || t == typeURL }

// isScalar says whether a value of the type is written as one word.
func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64, reflect.String:
		return true
	}
	return false
}

// keyOf is the key of a struct's field.
func keyOf(f reflect.StructField) string { return f.Tag.Get(tagKey) }

// under is the path of a key in a section.
func under(section, key string) string {
	if section == "" {
		return key
	}
	return section + "." + key
}

// mapKeys are the keys that a map field may have; nil when it may have any.
func mapKeys(f reflect.StructField) []string {
	if list := f.Tag.Get(tagKeys); list != "" {
		return strings.Split(list, ",")
	}
	return nil
}

// envOf is the environment variable of a key.
func envOf(f reflect.StructField, path string) string {
	if name := f.Tag.Get(tagEnv); name != "" {
		return name
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// leaf is a key that holds a value and no further keys.
type leaf struct {
	path  string
	field reflect.StructField
}

// leaves lists all keys with values below a struct type. A list of sections gives paths such as stacks[].name, a map
// with fixed keys one path for each of them.
func leaves(t reflect.Type, section string) []leaf {
	var all []leaf
	for i := range t.NumField() {
		f := t.Field(i)
		path := under(section, keyOf(f))
		switch inner := f.Type; {
		case inner.Kind() == reflect.Struct:
			all = append(all, leaves(inner, path)...)
		case inner.Kind() == reflect.Pointer:
			all = append(all, leaves(inner.Elem(), path)...)
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
			all = append(all, leaves(inner.Elem(), path+"[]")...)
		case inner.Kind() == reflect.Map && mapKeys(f) != nil:
			for _, key := range mapKeys(f) {
				all = append(all, leaf{path: under(path, key), field: f})
			}
		default:
			all = append(all, leaf{path: path, field: f})
		}
	}
	return all
}

// settable says whether environment and flags can set the key: one word, or a list of words.
func (l leaf) settable() bool {
	if strings.Contains(l.path, "[]") {
		return false
	}
	t := l.field.Type
	return isScalar(t) || t.Kind() == reflect.Slice && isScalar(t.Elem())
}

// valueAt finds the value of a settable leaf in a configuration and makes the optional sections on the way.
func valueAt(root reflect.Value, path string) reflect.Value {
	v := root
	for _, key := range strings.Split(path, ".") {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.FieldByIndex(indexOf(v.Type(), key))
	}
	return v
}

// indexOf finds a struct's field by its key; nil when there is none.
func indexOf(t reflect.Type, key string) []int {
	for i := range t.NumField() {
		if keyOf(t.Field(i)) == key {
			return t.Field(i).Index
		}
	}
	return nil
}
