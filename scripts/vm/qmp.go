package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// monitor is QEMU's machine protocol: a JSON object each for a command, its
// answer, and an event (docs/interop/qmp-spec.rst).
type monitor struct {
	conn net.Conn

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
	events  map[string]chan struct{} // "EVENT device" -> closed when it happened
	err     error
}

type answer struct {
	value json.RawMessage
	err   error
}

type message struct {
	ID     *int            `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Device string `json:"device"`
	} `json:"data"`
}

// args is the argument of a command.
type args map[string]any

func newMonitor(ctx context.Context, conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, waiting: make(map[int]chan answer),
		events: make(map[string]chan struct{})}
	go m.listen()
	_, err := m.do(ctx, "qmp_capabilities", nil)
	return m, err
}

// listen reads until the machine ends.
func (m *monitor) listen() {
	d := json.NewDecoder(m.conn)
	for {
		var msg message
		err := d.Decode(&msg)
		m.mu.Lock()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the machine has ended")
			}
			m.err = err
			for id, ch := range m.waiting {
				ch <- answer{err: err}
				delete(m.waiting, id)
			}
			m.mu.Unlock()
			return
		}
		switch {
		case msg.Event != "":
			key := msg.Event + " " + msg.Data.Device
			if ch := m.events[key]; ch != nil {
				close(ch)
				delete(m.events, key)
			}
		case msg.ID != nil && m.waiting[*msg.ID] != nil:
			a := answer{value: msg.Return}
			if msg.Error != nil {
				a.err = fmt.Errorf("%s: %s", msg.Error.Class, msg.Error.Desc)
			}
			m.waiting[*msg.ID] <- a
			delete(m.waiting, *msg.ID)
		}
		m.mu.Unlock()
	}
}

// do does a command and returns its answer.
func (m *monitor) do(ctx context.Context, command string, a args) (json.RawMessage, error) {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return nil, fmt.Errorf("telling QEMU to %s: %w", command, m.err)
	}
	m.next++
	id, ch := m.next, make(chan answer, 1)
	m.waiting[id] = ch
	m.mu.Unlock()
	request := args{"execute": command, "id": id}
	if a != nil {
		request["arguments"] = a
	}
	data, err := json.Marshal(request)
	if err == nil {
		_, err = m.conn.Write(data)
	}
	if err != nil {
		return nil, fmt.Errorf("telling QEMU to %s: %w", command, err)
	}
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, fmt.Errorf("telling QEMU to %s: %w", command, r.err)
		}
		return r.value, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("telling QEMU to %s: %w", command, ctx.Err())
	}
}

// expect returns a channel that is closed at the next such event of a device.
func (m *monitor) expect(event, device string) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan struct{})
	m.events[event+" "+device] = ch
	return ch
}
