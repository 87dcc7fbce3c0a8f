package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// WriteFile writes the configuration, secrets in clear, so that LoadClient reads the same from it. The file gets mode
// 0600 and appears whole or not at all; one that is there is replaced. The directory must exist. Values that are the
// defaults are left out.
func (c Client) WriteFile(path string) error {
	return writeFile(path, "# Written by a program. How a client reaches Temporal and the cloud controller.\n",
		reflect.ValueOf(c), reflect.ValueOf(DefaultClient()))
}

// WriteFile writes the configuration, secrets in clear, so that LoadNode reads the same from it. See Client.WriteFile.
func (n Node) WriteFile(path string) error {
	return writeFile(path, "# Written by a program. See dea.example.yml for all keys.\n",
		reflect.ValueOf(n), reflect.ValueOf(DefaultNode()))
}

func writeFile(path, comment string, value, defaults reflect.Value) error {
	text, err := yaml.Dump(sectionNode(value, defaults))
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename there is nothing of that name
	_, err = f.WriteString(comment + string(text))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// sectionNode is a struct without what is as in defaults.
func sectionNode(value, defaults reflect.Value) *yaml.Node {
	section := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := range value.NumField() {
		v, d := value.Field(i), defaults.Field(i)
		if !reflect.DeepEqual(v.Interface(), d.Interface()) {
			key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: keyOf(value.Type().Field(i))}
			section.Content = append(section.Content, key, valueNode(v, d))
		}
	}
	return section
}

func valueNode(v, d reflect.Value) *yaml.Node {
	switch v.Kind() {
	case reflect.Struct:
		return sectionNode(v, d)
	case reflect.Pointer:
		if v.IsNil() {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
		}
		return sectionNode(v.Elem(), reflect.Zero(v.Type().Elem()))
	case reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range v.Len() {
			list.Content = append(list.Content, valueNode(v.Index(i), reflect.Zero(v.Type().Elem())))
		}
		return list
	case reflect.Map:
		words := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, key := range keys {
			words.Content = append(words.Content, textNode(key.String()), textNode(v.MapIndex(key).String()))
		}
		return words
	}
	return scalarNode(v)
}

func scalarNode(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode}
	switch {
	case v.Type() == typeDuration:
		return textNode(time.Duration(v.Int()).String())
	case v.Kind() == reflect.Bool:
		node.Tag, node.Value = "!!bool", strconv.FormatBool(v.Bool())
	case v.CanInt():
		node.Tag, node.Value = "!!int", strconv.FormatInt(v.Int(), 10)
	case v.CanFloat():
		node.Tag, node.Value = "!!float", strconv.FormatFloat(v.Float(), 'f', -1, 64)
	default:
		// reflect reads the text itself, past the String method of a Secret or URL.
		return textNode(v.String())
	}
	return node
}

// textNode is always in quotes, so that no text is taken for something else.
func textNode(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text}
}
