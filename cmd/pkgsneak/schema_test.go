package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	format "pkgsneak/sync/request"
)

// resultTypes are the results of all commands that have one, by the command as the envelope names
// it.
var resultTypes = func() map[string][]any {
	all := map[string][]any{"help": {textReport{}}, "version": {versionReport{}}}
	for _, v := range verbs(&commandLine{env: &env{}}) {
		for sub, types := range v.results {
			all[strings.TrimSpace(v.Name+" "+sub)] = types
		}
	}
	return all
}()

// eventTypes are the lines before the envelope, by their member event.
var eventTypes = map[string]any{
	"access":    accessEvent{},
	"export":    exportEvent{},
	"listening": serveEvent{},
	"notice":    progressEvent{},
	"progress":  progressEvent{},
}

// schemaDir is where the schemas lie.
var schemaDir = filepath.Join("doc", "schema")

// Each schema is made of today's types, and each command has one.
func TestSchemas(t *testing.T) {
	files := map[string]*jsonschema.Schema{"events": eventsSchema()}
	for name := range resultTypes {
		files[strings.ReplaceAll(name, " ", "-")] = envelopeSchema(name)
	}
	if *update {
		if err := os.MkdirAll(schemaDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range files {
		open(s)
		s.Schema = "https://json-schema.org/draft/2020-12/schema"
		text, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
		path := filepath.Join(schemaDir, name+".json")
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, text) {
			t.Errorf("%s is not what the types say (%v); go generate ./cmd/pkgsneak writes it",
				path, err)
		}
	}
	for _, c := range newApp(testCommandLine(t, nil)).Commands {
		if c.Hidden {
			continue
		}
		if resultTypes[c.Name] == nil {
			t.Errorf("%s has no result", c.Name)
		}
		for _, sub := range c.Subcommands {
			if resultTypes[c.Name+" "+sub.Name] == nil {
				t.Errorf("%s %s has no result", c.Name, sub.Name)
			}
		}
	}
}

// An empty list is [] and is there, so that a script can go through it. A request is the exception:
// it is shown as it lies on the drive.
func TestListsAreNeverLeftOut(t *testing.T) {
	seen := map[reflect.Type]bool{reflect.TypeFor[format.Record](): true}
	var walk func(t reflect.Type)
	walk = func(typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Slice, reflect.Array, reflect.Pointer, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				tag := f.Tag.Get("json")
				if tag == "-" || !f.IsExported() && !f.Anonymous {
					continue
				}
				if f.Type.Kind() == reflect.Slice && strings.Contains(tag, ",omit") {
					t.Errorf("%s.%s: %s", typ, f.Name, tag)
				}
				walk(f.Type)
			}
		}
	}
	for _, types := range resultTypes {
		for _, v := range types {
			walk(reflect.TypeOf(v))
		}
	}
	for _, v := range eventTypes {
		walk(reflect.TypeOf(v))
	}
}

// Each command's --json is compared with its schema in some story.
func TestEachSchemaIsTried(t *testing.T) {
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatal(err, stories)
	}
	tried := map[string]bool{}
	lines := regexp.MustCompile(`(?m)^jsonlines (?:'([a-z ]+)'|([a-z]+)) 0$`)
	for _, story := range stories {
		text, err := os.ReadFile(story)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines.FindAllSubmatch(text, -1) {
			tried[string(l[1])+string(l[2])] = true
		}
	}
	for name := range resultTypes {
		if !tried[name] {
			t.Errorf("no story has the line: jsonlines '%s' 0", name)
		}
	}
}

// The example of pkgsneak-json(5) reads members that there are.
func TestManualExampleOfJSON(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(manualDir, "pkgsneak-json.5.in"))
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile(`(?s)\npkgsneak (\w+) \S+json .*jq .*'\.result((?:\.\w+\[\])+) \| (.*)'`).
		FindSubmatch(text)
	if example == nil {
		t.Fatal("there is none")
	}
	s := envelopeSchema(string(example[1])).Properties["result"].AnyOf[0]
	member := func(name []byte) {
		if s = s.Properties[string(name)]; s == nil {
			t.Fatalf("%q has no member %q", example[0], name)
		}
	}
	names := regexp.MustCompile(`\.(\w+)`)
	for _, name := range names.FindAllSubmatch(example[2], -1) {
		member(name[1])
		s = s.Items
	}
	item := s
	for _, name := range names.FindAllSubmatch(example[3], -1) {
		s = item
		member(name[1])
	}
}

// open allows members that are not named: later programs may have more.
func open(s *jsonschema.Schema) {
	eachSchema(s, func(s *jsonschema.Schema) {
		if s.AdditionalProperties != nil && s.AdditionalProperties.Not != nil {
			s.AdditionalProperties = nil
		}
	})
}

func eachSchema(s *jsonschema.Schema, do func(*jsonschema.Schema)) {
	if s == nil {
		return
	}
	do(s)
	for _, p := range s.Properties {
		eachSchema(p, do)
	}
	eachSchema(s.Items, do)
	if s.AdditionalProperties != nil && s.AdditionalProperties.Not == nil {
		eachSchema(s.AdditionalProperties, do)
	}
	for _, p := range s.AnyOf {
		eachSchema(p, do)
	}
}

// schemaOf is the schema of a type as encoding/json writes it and withLists fills it: nothing is
// null.
func schemaOf(v any) *jsonschema.Schema {
	typ := reflect.TypeOf(v)
	texts := map[reflect.Type]*jsonschema.Schema{}
	collectTexts(typ, texts, map[reflect.Type]bool{})
	s, err := jsonschema.ForType(typ, &jsonschema.ForOptions{TypeSchemas: texts})
	if err != nil {
		panic(err)
	}
	eachSchema(s, func(s *jsonschema.Schema) {
		s.Types = slices.DeleteFunc(s.Types, func(name string) bool { return name == "null" })
		if len(s.Types) == 1 {
			s.Type, s.Types = s.Types[0], nil
		}
	})
	return s
}

// collectTexts finds the types that write themselves as a text.
func collectTexts(t reflect.Type, texts map[reflect.Type]*jsonschema.Schema,
	seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	if t.Kind() != reflect.Interface && (t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextMarshaler]())) {
		texts[t] = &jsonschema.Schema{Type: "string"}
		return
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Pointer, reflect.Map:
		collectTexts(t.Elem(), texts, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() || f.Anonymous {
				collectTexts(f.Type, texts, seen)
			}
		}
	}
}

// envelopeSchema is the schema of the last line of a command.
func envelopeSchema(command string) *jsonschema.Schema {
	s := schemaOf(envelope{})
	s.Title = "the last line of pkgsneak " + command + " --json"
	s.Properties["pkgsneak"] = constant(jsonFormat)
	s.Properties["command"] = constant(command)
	var exits []any
	for _, e := range exitMeanings {
		exits = append(exits, e.code)
	}
	s.Properties["exit"] = &jsonschema.Schema{Type: "integer", Enum: exits}
	var results []*jsonschema.Schema
	for _, v := range resultTypes[command] {
		results = append(results, schemaOf(v))
	}
	nothing := 0
	s.Properties["result"] = &jsonschema.Schema{AnyOf: append(results,
		&jsonschema.Schema{Type: "object", MaxProperties: &nothing, Title: "after an error"})}
	return s
}

func eventsSchema() *jsonschema.Schema {
	s := &jsonschema.Schema{Title: "the lines of --json before the last one"}
	for _, name := range slices.Sorted(maps.Keys(eventTypes)) {
		e := schemaOf(eventTypes[name])
		e.Properties["event"] = constant(name)
		s.AnyOf = append(s.AnyOf, e)
	}
	return s
}

func constant(v any) *jsonschema.Schema { return &jsonschema.Schema{Const: &v} }

// strictSchemas are the schemas, resolved, under which a member that no type has is an error.
var strictSchemas = sync.OnceValue(func() map[string]*jsonschema.Resolved {
	all := map[string]*jsonschema.Resolved{}
	add := func(name string, s *jsonschema.Schema) {
		r, err := s.Resolve(nil)
		if err != nil {
			panic(fmt.Errorf("%s: %w", name, err))
		}
		all[name] = r
	}
	for name := range resultTypes {
		add(name, envelopeSchema(name))
	}
	add("event", eventsSchema())
	return all
})

// checkSchema compares a line of --json with its schema. A usage error that names no command has
// none.
func checkSchema(line []byte) error {
	var v map[string]any
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	name, _ := v["command"].(string)
	if _, isEvent := v["event"]; isEvent {
		name = "event"
	} else if name == "" {
		return nil
	}
	s := strictSchemas()[name]
	if s == nil {
		return fmt.Errorf("there is no schema of %q", name)
	}
	return s.Validate(v)
}

// results lists the members of each command's result, for the manual page.
func (m *manual) results() {
	for _, name := range slices.Sorted(maps.Keys(resultTypes)) {
		m.line(".Ss %s", name)
		for i, v := range resultTypes[name] {
			if i > 0 {
				m.line("Or:")
			}
			m.members(schemaOf(v))
		}
	}
}

func (m *manual) members(s *jsonschema.Schema) {
	if len(s.Properties) == 0 {
		m.line("Nothing: {}.")
		return
	}
	m.line(".Bl -tag -width Ds -compact")
	for _, name := range s.PropertyOrder {
		p := s.Properties[name]
		what := p.Type
		if p.Items != nil {
			what = "array of " + p.Items.Type
		}
		if !slices.Contains(s.Required, name) {
			what += ", may be absent"
		}
		m.line(".It Cm %s\n%s", roff(name), what)
	}
	m.line(".El")
}
