package portage

// layer is one of the dictionaries that Portage stacks.
type layer struct {
	values map[string]string
	from   map[string]string // the file that set each value
}

func newLayer() layer { return layer{map[string]string{}, map[string]string{}} }

func (y layer) set(key, value, file string) {
	y.values[key] = value
	y.from[key] = file
}

func (y layer) remove(key string) {
	delete(y.values, key)
	delete(y.from, key)
}

// add appends to a value as Portage does where variables are incremental.
func (y layer) add(key, value, file string) {
	if old, ok := y.values[key]; ok && old != "" {
		value = old + " " + value
	}
	y.set(key, value, file)
}

func get(y layer) func(string) (string, bool) {
	return func(k string) (string, bool) { v, ok := y.values[k]; return v, ok }
}

// layers are the sources of values, in Portage's order.
type layers struct{ envd, globals, defaults, conf, environ layer }

func newLayers() layers {
	return layers{newLayer(), newLayer(), newLayer(), newLayer(), newLayer()}
}

func (l layers) lowestFirst() []layer {
	return []layer{l.envd, l.globals, l.defaults, l.conf, l.environ}
}
