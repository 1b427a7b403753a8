package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/scripts/vm/disk"
)

// request is one as the specification has it.
func request(command uint16, off uint64, n uint32, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x25609513)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, command)
	b = append(b, "cookie!!"...)
	b = binary.BigEndian.AppendUint64(b, off)
	b = binary.BigEndian.AppendUint32(b, n)
	return append(b, data...)
}

// wires are the two ends of what a client sends and gets.
type wires struct {
	*bytes.Reader
	bytes.Buffer
}

func (w *wires) Read(p []byte) (int, error)  { return w.Reader.Read(p) }
func (w *wires) Write(p []byte) (int, error) { return w.Buffer.Write(p) }

func TestServe(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte{7}, 512)
	tests := []struct {
		name string
		ask  []byte
		want string // after the magic: status, cookie, data
		err  bool
	}{
		{"write, then read", append(request(1, 1024, 512, data), request(0, 1024, 512, nil)...),
			"\x00\x00\x00\x00cookie!!" + "gDf\x98\x00\x00\x00\x00cookie!!" + string(data), false},
		{"flush", request(3, 0, 0, nil), "\x00\x00\x00\x00cookie!!", false},
		{"read behind the end", request(0, 8192, 512, nil), "\x00\x00\x00\x16cookie!!", false},
		{"read across the end", request(0, 7936, 512, nil), "\x00\x00\x00\x16cookie!!", false},
		{"an offset that overflows", request(0, 1<<63, 512, nil),
			"\x00\x00\x00\x16cookie!!", false},
		{"a command nobody knows", request(99, 0, 0, nil), "\x00\x00\x00\x16cookie!!", false},
		{"disconnect", append(request(2, 0, 0, nil), "rubbish"...), "", false},
		{"another magic", []byte(strings.Repeat("x", 28)), "", true},
		{"too long", request(0, 0, 1<<31, nil), "", true},
		{"cut off", request(1, 0, 512, data[:100]), "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &wires{Reader: bytes.NewReader(tt.ask)}
			err := Serve(w, disk.NewImage(8192))
			if (err != nil) != tt.err {
				t.Errorf("error %v", err)
			}
			want := tt.want
			if want != "" {
				want = "gDf\x98" + want
			}
			if got := w.Buffer.String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func option(n uint32, data string) string {
	b := binary.BigEndian.AppendUint32([]byte("IHAVEOPT"), n)
	return string(binary.BigEndian.AppendUint32(b, uint32(len(data)))) + data
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	size := "\x00\x00\x00\x00\x00\x00\x20\x00\x00\x05"
	tests := []struct {
		name, say, want string
		err             error
	}{
		{"export name", "\x00\x00\x00\x03" + option(1, "any"), size, nil},
		{"export name of an old client", "\x00\x00\x00\x01" + option(1, ""),
			size + strings.Repeat("\x00", 124), nil},
		{"structured replies refused, then go", "\x00\x00\x00\x03" + option(8, "") +
			option(7, "\x00\x00\x00\x00\x00\x00"),
			"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x08\x80\x00\x00\x01\x00\x00\x00\x00" +
				"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x0c\x00\x00" + size +
				"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00",
			nil},
		{"abort", "\x00\x00\x00\x03" + option(2, ""),
			"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00",
			ErrAborted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &wires{Reader: bytes.NewReader([]byte(tt.say))}
			if err := Handshake(w, 8192); !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if got, want := w.Buffer.String(), "NBDMAGICIHAVEOPT\x00\x03"+tt.want; got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
	w := &wires{Reader: bytes.NewReader([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\xff\xff\xff\xff"))}
	if err := Handshake(w, 8192); err == nil {
		t.Error("an option of 4 GiB was taken")
	}
}

// QEMU's own client reads and writes.
func TestServesQEMU(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skipf("QEMU'S CLIENT DID NOT TRY: %v", err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Skipf("QEMU'S CLIENT DID NOT TRY: %v", err) // a long path, mostly
	}
	defer l.Close()
	r := &disk.Recorder{Device: disk.NewImage(1 << 20)}
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			if err = Handshake(conn, r.Size()); err == nil {
				err = Serve(conn, r)
			}
		}
		served <- err
	}()
	out, err := exec.Command("qemu-io", "-f", "raw", "-c", "write -P 5 4096 8192", "-c", "flush",
		"-c", "read -P 5 4096 8192", "nbd+unix:///?socket="+socket).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "wrote 8192/8192") ||
		strings.Contains(string(out), "failed") {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := r.Log(); len(got) < 2 || got[0].Offset != 4096 || len(got[0].Data) != 8192 ||
		got[1].Flags != disk.Flush {
		t.Errorf("recorded %d entries", len(got))
	}
}
