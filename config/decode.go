package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// maxDuration bounds every duration: about a hundred years, which still is a time.Duration.
const maxDuration = 100 * 365 * 24 * time.Hour

// section reads a map into a struct.
func (l *loader) section(node *yaml.Node, into reflect.Value, path string) {
	node = resolved(node)
	if isNull(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		l.refuse(path, node, "must be a section with keys, is %s", describe(node, false))
		return
	}
	l.eachKey(node, path, func(key string, keyNode, value *yaml.Node) {
		index := indexOf(into.Type(), key)
		if index == nil {
			l.refuse(under(path, key), keyNode, "%s", l.unknown(path, key, keysOf(into.Type())))
			return
		}
		l.value(value, into.FieldByIndex(index), into.Type().FieldByIndex(index), under(path, key))
	})
}

// eachKey goes through a map's entries and refuses what is no plain key or stands there twice.
func (l *loader) eachKey(node *yaml.Node, path string, visit func(key string, keyNode, value *yaml.Node)) {
	first := make(map[string]int)
	for i := 0; i+1 < len(node.Content); i += 2 {
		keyNode, value := resolved(node.Content[i]), node.Content[i+1]
		switch {
		case keyNode.Kind != yaml.ScalarNode:
			l.refuse(path, keyNode, "a key must be text, is %s", describe(keyNode, false))
			continue
		case keyNode.ShortTag() == "!!merge":
			l.refuse(path, keyNode, "merge keys (<<) are not read here: write the keys out")
			continue
		case first[keyNode.Value] > 0:
			l.refuse(under(path, keyNode.Value), keyNode, "stands in line %d already", first[keyNode.Value])
			continue
		}
		first[keyNode.Value] = keyNode.Line
		l.seen(under(path, keyNode.Value), keyNode.Line)
		visit(keyNode.Value, keyNode, value)
	}
}

// value reads one node into a field of any kind. A key without a value counts as not given.
func (l *loader) value(node *yaml.Node, into reflect.Value, field reflect.StructField, path string) {
	node = resolved(node)
	if isNull(node) {
		l.forget(path)
		return
	}
	switch t := into.Type(); {
	case isScalar(t):
		l.scalar(node, into, field, path)
	case t.Kind() == reflect.Struct:
		l.section(node, into, path)
	case t.Kind() == reflect.Pointer:
		into.Set(reflect.New(t.Elem()))
		l.section(node, into.Elem(), path)
	case t.Kind() == reflect.Slice:
		l.list(node, into, field, path)
	case t.Kind() == reflect.Map:
		l.words(node, into, field, path)
	}
}

// list reads a list, which takes the place of the default one.
func (l *loader) list(node *yaml.Node, into reflect.Value, field reflect.StructField, path string) {
	if node.Kind != yaml.SequenceNode {
		l.refuse(path, node, "must be a list, is %s", describe(node, isHidden(into.Type().Elem())))
		return
	}
	items := reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		l.seen(itemPath, item.Line)
		if isNull(resolved(item)) {
			l.refuse(itemPath, item, "must not be empty")
			continue
		}
		l.value(item, items.Index(i), field, itemPath)
	}
	into.Set(items)
}

// words reads a map of texts. Numbers and truth values in it are taken as they are written, for an environment often
// has some.
func (l *loader) words(node *yaml.Node, into reflect.Value, field reflect.StructField, path string) {
	if node.Kind != yaml.MappingNode {
		l.refuse(path, node, "must be a map of names and texts, is %s", describe(node, isHidden(into.Type().Elem())))
		return
	}
	allowed := mapKeys(field)
	into.Set(reflect.MakeMap(into.Type()))
	l.eachKey(node, path, func(key string, keyNode, value *yaml.Node) {
		at := under(path, key)
		if allowed != nil && !slices.Contains(allowed, key) {
			l.refuse(at, keyNode, "%s", l.unknown(path, key, allowed))
			return
		}
		value = resolved(value)
		if isNull(value) {
			l.forget(at)
			return
		}
		if value.Kind != yaml.ScalarNode {
			l.refuse(at, value, "must be text, is %s", describe(value, true))
			return
		}
		text := value.Value
		if field.Tag.Get(tagKind) == kindPath {
			text = absolute(l.dir, text)
		}
		into.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(text).Convert(into.Type().Elem()))
	})
}

// scalar reads one word.
func (l *loader) scalar(node *yaml.Node, into reflect.Value, field reflect.StructField, path string) {
	t := into.Type()
	is := describe(node, isHidden(t))
	if node.Kind != yaml.ScalarNode {
		l.refuse(path, node, "must be %s, is %s", wanted(t), is)
		return
	}
	tag := node.ShortTag()
	ok := false
	switch {
	case t == typeDuration:
		ok = tag == "!!int" || tag == "!!float" || tag == "!!str"
	case t.Kind() == reflect.Bool:
		ok = tag == "!!bool" || tag == "!!str" && node.Style == 0 // yes and no are texts to YAML 1.2
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		ok = tag == "!!int"
	case t.Kind() == reflect.Float64:
		ok = tag == "!!int" || tag == "!!float"
	case t.Kind() == reflect.String:
		ok = tag == "!!str"
		if !ok && strings.HasPrefix(tag, "!!") {
			is += ": put it in quotes"
		}
	}
	if !ok {
		l.refuse(path, node, "must be %s, is %s", wanted(t), is)
		return
	}
	if words := setText(into, node.Value, field.Tag.Get(tagKind), l.dir); words != "" {
		l.refuse(path, node, "%s, is %s", words, is)
	}
}

// setText reads a word into a field of a scalar type; not empty words say what it should have been.
func setText(into reflect.Value, text, kind, dir string) (words string) {
	must := "must be " + wanted(into.Type())
	switch t := into.Type(); {
	case t == typeDuration:
		d, ok := parseDuration(text)
		if !ok {
			return must
		}
		into.SetInt(int64(d))
	case t.Kind() == reflect.Bool:
		b, ok := parseBool(text)
		if !ok {
			return must
		}
		into.SetBool(b)
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		n, err := parseInt(text)
		if errors.Is(err, strconv.ErrRange) {
			return must + " of at most 63 bits"
		}
		if err != nil {
			return must
		}
		into.SetInt(n)
	case t.Kind() == reflect.Float64:
		f, ok := parseFloat(text)
		if !ok {
			return must
		}
		into.SetFloat(f)
	case kind == kindPath:
		into.SetString(absolute(dir, text))
	default:
		into.SetString(text)
	}
	return ""
}

// wanted says what a value of a type looks like.
func wanted(t reflect.Type) string {
	switch {
	case t == typeDuration:
		return "a number of seconds or a time such as 15m"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "text"
}

// absolute makes a file name absolute; an empty one stays empty.
func absolute(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// resolved follows an alias to its anchor.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode && node.Alias != nil {
		return node.Alias
	}
	return node
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// describe says what a node is; with hidden, without its value.
func describe(node *yaml.Node, hidden bool) string {
	value := node.Value
	if len(value) > 40 {
		value = value[:40] + "…"
	}
	switch {
	case node.Kind == yaml.MappingNode:
		return "a map"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.ShortTag() == "!!str" && hidden:
		return "a text"
	case node.ShortTag() == "!!str":
		return fmt.Sprintf("the text %q", value)
	case node.ShortTag() == "!!null":
		return "nothing"
	case hidden:
		return "something else"
	case strings.HasPrefix(node.ShortTag(), "!!"):
		return value
	}
	return fmt.Sprintf("of the type %s", node.ShortTag())
}

// finite says whether a number is one.
func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
