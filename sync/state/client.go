package state

import (
	"errors"
	"io"
	"io/fs"
	"strconv"
)

// clientName is what this machine asked for last, a table of one row:
//
//	pkgsneak client 1
//	NAME<TAB>SERIAL
//	end<TAB>1
const clientName = "client"

// Asked is the last request of this machine.
type Asked struct {
	Name   string // of the client
	Serial int64
}

var clientTable = table{kind: "pkgsneak client", version: 1, fields: 2}

// LastAsked returns the last request of this machine, the zero value if there was none or it is not
// remembered: the clock and the drive make a higher serial all the same.
func LastAsked(st *Dir) (a Asked, err error) {
	data, err := st.read(clientName, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	_, err = clientTable.parse(string(data), func(f []string) error {
		a.Name = f[0]
		a.Serial, err = parseInt(f[1])
		return err
	})
	if err != nil {
		return Asked{}, nil
	}
	return a, nil
}

// SaveAsked remembers a request.
func SaveAsked(st *Dir, a Asked) error {
	return st.write(clientName, 0o644, func(w io.Writer) error {
		return clientTable.write(w, 1, func(b []byte, _ int) []byte {
			return strconv.AppendInt(append(append(b, escape(a.Name)...), '\t'), a.Serial, 10)
		})
	})
}
